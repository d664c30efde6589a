import { expect, test } from "vitest";
import { inputValue } from "../graph/value.js";
import { ops as f } from "../ops/index.js";
import { createEngine } from "../runtime/engines.js";
import { hostTensor, zeros } from "../base/host-tensor.js";
import { findSplits } from "./find-splits.js";
import { lowerGraph } from "./lower.js";

const x = inputValue("x", { dtype: "float32", shape: ["N", 6] });
const part = (start: number, end: number, axis = 1) => f.slice(x, { axis, start, end });
const splitsOf = (outputs: ReturnType<typeof part>[]) => findSplits({ inputs: [x], outputs, name: "g" });

test("slices that cover an axis once are one split, in whatever order they come", () => {
  const [a, b, c] = [part(0, 1), part(1, 4), part(4, 6, -1)];
  const splits = splitsOf([c, a, b]);
  for (const one of [a, b, c])
    expect(splits.get(one)).toEqual({ axis: 1, parts: [a, b, c], sizes: [1, 3, 2] });
});

test.each([
  ["leave something out", [part(0, 2), part(3, 6)]],
  ["end before the end", [part(0, 2), part(2, 5)]],
  ["overlap", [part(0, 4), part(3, 6)]],
  ["are one alone", [part(0, 6)]],
])("slices that %s stay slices", (_, outputs) => {
  expect(splitsOf(outputs).size).toBe(0);
});

test("a split gives what its slices would", async () => {
  const engine = await createEngine();
  const outputs = [part(4, 6), f.neg(part(0, 3)), part(3, 4)];
  const session = await engine.compile(lowerGraph({ inputs: [x], outputs, name: "g" }, engine.capabilities));
  const rows = Float32Array.from({ length: 12 }, (_, i) => i);
  const results = [zeros("float32", [2, 2]), zeros("float32", [2, 3]), zeros("float32", [2, 1])];
  await session.run([hostTensor("float32", [2, 6], rows)], results);
  expect(results.map(({ data }) => [...data].map(Number))).toEqual([
    [4, 5, 10, 11],
    [-0, -1, -2, -6, -7, -8],
    [3, 9],
  ]);
  await session.close();
});
