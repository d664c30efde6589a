import { join } from "node:path";
import { expect, test } from "vitest";
import { fixturesFolder } from "../../test/support/fixture.js";
import { AutoModelForCausalLM } from "../auto/auto-model.js";
import { type Graph, inputValue, type Value } from "../graph/value.js";
import { ops as f } from "../ops/index.js";
import { Profiler } from "./profiler.js";
import { mostTokens } from "./row-chunks.js";
import { rowGraph } from "./row-independence.js";

const tokens = (...shape: number[]): Value => inputValue("x", { dtype: "float32", shape: ["N", ...shape] });
const weight = (...shape: (number | string)[]): Value => inputValue("w", { dtype: "float32", shape });
const index = (...shape: (number | string)[]): Value => inputValue("i", { dtype: "int64", shape });

const graphOf = (inputs: readonly Value[], ...outputs: Value[]): Graph => ({ name: "test", inputs, outputs });

test("rows that are computed each by itself, and sums over them, can be cut", () => {
  const [x, dy, w, a] = [tokens(8), tokens(12), weight(12, 8), weight("r", 8)];
  const dx = f.matmul(dy, w, {});
  const down = f.matmul(x, a, { transposeB: true });
  const found = rowGraph(
    graphOf([x, dy, w, a], dx, f.matmul(dy, x, { transposeA: true }), f.sum(dy, { axis: 0 }), down),
  );
  expect(found).toEqual({
    inputs: [true, true, false, false],
    outputs: [true, false, false, true],
    widest: 16,
    // dL/dx, and x Aᵀ for some rank; dL/dW and dL/db.
    perToken: 8 + 16,
    perRun: 12 * 8 + 12,
  });
});

test("what is made of weights is computed anew by every run", () => {
  const [x, a, b] = [tokens(8), weight(8, 2), weight(2, 8)];
  expect(rowGraph(graphOf([x, a, b], f.matmul(x, f.matmul(a, b, {}), {})))).toMatchObject({
    perToken: 8,
    perRun: 64,
  });
});

test("heads of a row, words of a table, and rows gathered for their gradient", () => {
  const [x, ids, table] = [tokens(8), index("N"), weight(20, 8)];
  const heads = f.softmax(f.reshape(x, { shape: ["N", 2, 4] }));
  const all = f.add(f.reshape(heads, { shape: ["N", 8] }), f.gather(table, ids));
  expect(rowGraph(graphOf([x, ids, table], all))?.outputs).toEqual([true]);
  expect(rowGraph(graphOf([x, ids, table], f.neg(x), f.scatterRows(x, ids, table)))?.outputs).toEqual([
    true,
    false,
  ]);
});

test.each<[string, (x: Value, numbers: Value) => Value]>([
  ["every row takes off the mean", (x) => f.sub(x, f.sum(x, { axis: 0, keep: true }))],
  ["every row looks at all of them", (x) => f.matmul(f.softmax(f.matmul(x, x, { transposeB: true })), x, {})],
  [
    "rows are columns for a while",
    (x) => f.transpose(f.softmax(f.transpose(x, { axes: [1, 0] })), { axes: [1, 0] }),
  ],
  ["rows are looked up by number", (x, numbers) => f.gather(x, numbers)],
  ["a share of all tokens", (x) => f.mul(x, f.unsqueeze(f.softmax(f.sum(x, { axis: -1 })), { axis: 1 }))],
  ["nothing of a token", () => f.constant({ shape: [3], value: 1 })],
])("rows that depend on each other cannot: %s", (_, build) => {
  const [x, numbers] = [tokens(8), index("N")];
  expect(rowGraph(graphOf([x, numbers], build(x, numbers)))).toBeUndefined();
});

test("stages run in chunks where their values are larger than caches, not where weights are made anew", async () => {
  const base = await AutoModelForCausalLM.fromPretrained(join(fixturesFolder, "llama/model"));
  const ids = Array.from({ length: 20 }, (_, i) => 5 + i);
  const callsWith = async (chunks: Partial<typeof base.runner.chunks>): Promise<number> => {
    base.runner.chunks = { ...base.runner.chunks, ...chunks };
    const profiler = new Profiler();
    base.runner.sessions.profiler = profiler;
    await base.forward({ inputIds: [ids] });
    base.runner.sessions.profiler = undefined;
    return profiler.spans.filter(({ name }) => name === "layers.*.attention_out_mlp forward").length;
  };
  expect(await callsWith({})).toBe(3);
  // The widest value has 48 numbers a token, 3,840 bytes in all.
  expect(await callsWith({ whole: 3839, chunk: 1000, tokens: 6 })).toBe(3 * 4);
  expect(await callsWith({ chunk: 4 * 48 * 10 })).toBe(3 * 2);
  expect(await callsWith({ whole: 3840 })).toBe(3);
  const [stage] = base.runner.plan({ training: false, gradients: false }).stages.slice(-1);
  if (stage?.kind !== "tokens") throw new Error("the last stage is one of tokens");
  expect(mostTokens(stage.save.forward, { whole: 10_000, chunk: 0, tokens: 6, repeated: 0 })).toBe(52);
  await base.close();
});
