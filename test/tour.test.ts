// Read me: the whole of peft.js in nine steps, each building on the one before.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { gradients } from "../src/autodiff/gradients.js";
import { interpret } from "../src/graph/interpret.js";
import { ndArray } from "../src/graph/nd-array.js";
import { inputValue } from "../src/graph/value.js";
import {
  AutoModelForCausalLM,
  AutoTokenizer,
  encodeDataset,
  generate,
  getPeftModel,
  PeftModel,
  train,
} from "../src/index.js";
import { Linear } from "../src/nn/linear.js";
import { Trace } from "../src/nn/trace.js";
import { ops as f } from "../src/ops/index.js";

const folder = mkdtempSync(join(tmpdir(), "peft-tour-"));
afterAll(() => rmSync(folder, { recursive: true }));
const embedded = join(import.meta.dirname, "../embedded/base");
const rows = ["a small bird", "a red fruit", "a wise man"].map((prompt, i) => ({
  source: `row ${i + 1}`,
  value: { prompt, completion: ["animal", "food", "person"][i]! },
}));

test("1: a value is a name for numbers to come", () => {
  const x = inputValue("x", { dtype: "float32", shape: ["N", 3] });
  expect(x.type.shape).toEqual(["N", 3]);
});

test("2: an op makes a value of values, and knows its type", () => {
  const x = inputValue("x", { dtype: "float32", shape: ["N", 3] });
  const w = inputValue("w", { dtype: "float32", shape: [5, 3] });
  expect(f.matmul(x, w, { transposeB: true }).type.shape).toEqual(["N", 5]);
  expect(() => f.matmul(x, w, {})).toThrow("matmul: inner sizes differ, 3 and 5.");
});

test("3: gradients are values too", () => {
  const x = inputValue("x", { dtype: "float64", shape: [2] });
  const y = f.mul(x, x);
  const dy = f.constant({ dtype: "float64", shape: [2], value: 1 });
  const [dx] = gradients(new Map([[y, dy]]), [x]);
  const [result] = interpret({ inputs: [x], outputs: [dx!] }, [ndArray([2], Float64Array.of(3, -4))]);
  expect([...result!.data]).toEqual([6, -8]);
});

test("4: a layer asks its trace for parameters", () => {
  const layer = new Linear(3, 5, { bias: true });
  const t = new Trace();
  const y = layer.forward(t, t.stream("hidden", 3));
  expect(y.type.shape).toEqual(["N", 5]);
  expect([...t.leaves.values()].map(({ kind }) => kind)).toEqual(["stream", "parameter", "parameter"]);
});

test("5: a model turns tokens into scores", async () => {
  await using model = await AutoModelForCausalLM.fromPretrained(embedded);
  const { logits } = await model.forward({ inputIds: [[3, 100, 200]] });
  expect(logits.dims).toEqual([1, 3, 4096]);
});

test("6: an adapter changes nothing at first, and alone is trained", async () => {
  await using base = await AutoModelForCausalLM.fromPretrained(embedded);
  const batch = { inputIds: [[3, 100, 200]], labels: [[-100, 100, 200]] };
  const before = (await base.forward(batch)).logits.data;
  const model = await getPeftModel(base, { peftType: "LORA", r: 4 });
  expect((await model.forward(batch)).logits.data).toEqual(before);
  await model.backward(batch);
  expect([...base.namedParameters()].every(({ grad }) => grad === undefined)).toBe(true);
});

test("7, 8, 9: train, save, load, merge: one answer all the way", async () => {
  const tokenizer = await AutoTokenizer.fromPretrained(embedded);
  await using base = await AutoModelForCausalLM.fromPretrained(embedded);
  const model = await getPeftModel(base, {
    peftType: "LORA",
    r: 8,
    loraAlpha: 16,
    targetModules: "all-linear",
  });
  const dataset = encodeDataset(rows, tokenizer);
  for await (const event of train(model, dataset, { epochs: 15, batchSize: 3, learningRate: 5e-3 })) {
    if (event.type === "end") expect(event.steps).toBe(15);
  }
  const prompts = rows.map(({ value }) =>
    tokenizer.encode(
      tokenizer.applyChatTemplate([{ role: "user", content: value.prompt }], { addGenerationPrompt: true }),
    ),
  );
  const answers = async (): Promise<string[]> =>
    (await generate(base, prompts, { maxNewTokens: 4 })).map(({ text }) => text);
  expect(await answers()).toEqual(["animal", "food", "person"]);
  await model.savePretrained(folder);
  model.deleteAdapter("default");
  expect(await answers()).not.toEqual(["animal", "food", "person"]);
  const loaded = await PeftModel.fromPretrained(base, folder);
  expect(await answers()).toEqual(["animal", "food", "person"]);
  const merged = await loaded.mergeAndUnload();
  expect(merged).toBe(base);
  expect(await answers()).toEqual(["animal", "food", "person"]);
});
