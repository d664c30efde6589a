import { join } from "node:path";
import { expect, test } from "vitest";
import { AutoModelForCausalLM, getPeftModel } from "../src/index.js";
import { packBatch } from "../src/text/collate.js";
import { splitRows } from "../src/text/slice-rows.js";
import { residentBytes } from "../src/runtime/memory.js";
import { expectClose } from "./support/close.js";

const path = join(import.meta.dirname, "fixtures/gguf/llama.gguf");
const inputIds = [
  [3, 17, 29, 5],
  [41, 8, 2, 30, 11, 9],
  [7, 7, 12],
];
const labels = [
  [-100, 17, 29, 5],
  [-100, -100, 2, 30, 11, 9],
  [-100, 7, 12],
];

async function gradients(memoryBytes: number | undefined, offloadFolder?: string | false) {
  const warnings: string[] = [];
  await using model = await AutoModelForCausalLM.fromPretrained(path, {
    memoryBytes,
    offloadFolder,
    onWarning: (text) => warnings.push(text),
  });
  const adapted = await getPeftModel(model, {
    peftType: "LORA",
    initLoraWeights: false,
    targetModules: "all-linear",
  });
  let passes = 0;
  const forward = model.runner.forward.bind(model.runner);
  model.runner.forward = (...args) => ((passes += 1), forward(...args));
  const { loss, supervisedTokens, tokens } = await adapted.backward({ inputIds, labels });
  const grads = adapted.trainableParameters().map(({ name, grad }) => [name, grad!] as const);
  const loaded = [...model.namedParameters()].filter((one) => one.decodes && one.loaded);
  return { loss, supervisedTokens, tokens, grads, passes, warnings, loaded: loaded.length };
}

test("parts of a batch are whole rows of like size, with what they predict", () => {
  const packed = packBatch({ inputIds, labels }, {});
  const parts = splitRows(packed, 7);
  expect(parts.map(({ tokens }) => [...tokens])).toEqual(inputIds);
  expect(parts.map(({ supervisedLabels }) => [...supervisedLabels])).toEqual([
    [17, 29, 5],
    [2, 30, 11, 9],
    [7, 12],
  ]);
  expect(parts.map(({ supervised }) => [...supervised])).toEqual([
    [0, 1, 2],
    [1, 2, 3, 4],
    [0, 1],
  ]);
  expect(parts.map(({ rowOffsets }) => [...rowOffsets])).toEqual([
    [0, 4],
    [0, 6],
    [0, 3],
  ]);
  expect(splitRows(packed, 100)).toEqual([packed]);
});

test("under a limit a step gives the gradients of the whole batch, and no decoded weight is kept", async () => {
  const whole = await gradients(undefined);
  const limited = await gradients(residentBytes() * 3);
  expect(limited.warnings).toEqual([]);
  expect(limited.loaded).toBe(0);
  expect(whole.loaded).toBeGreaterThan(0);
  expect(Math.abs(limited.loss - whole.loss)).toBeLessThan(1e-6 * whole.loss);
  for (const [i, [name, grad]] of whole.grads.entries())
    expectClose(name, limited.grads[i]![1], grad, { absolute: 1e-6, relative: 1e-4 });
});

test("a limit that nothing fits in runs row by row, and says what would do", async () => {
  const whole = await gradients(undefined);
  const limited = await gradients(1_000_000, false);
  expect(limited.passes).toBe(inputIds.length);
  expect(limited.warnings).toHaveLength(1);
  expect(limited.warnings[0]!.replaceAll(/[\d,]+ MiB/g, "… MiB")).toBe(
    "a row of 6 tokens needs about … MiB, more than the memory limit of … MiB: shorten the rows, or allow more",
  );
  expect([limited.supervisedTokens, limited.tokens]).toEqual([whole.supervisedTokens, whole.tokens]);
  expect(Math.abs(limited.loss - whole.loss)).toBeLessThan(1e-6 * whole.loss);
  for (const [i, [name, grad]] of whole.grads.entries())
    expectClose(name, limited.grads[i]![1], grad, { absolute: 1e-6, relative: 1e-4 });
});

test("a batch that does not fit waits in a temporary file, and says so once", async () => {
  const warnings: string[] = [];
  await using base = await AutoModelForCausalLM.fromPretrained(path, {
    memoryBytes: 1_000_000,
    onWarning: (text) => warnings.push(text),
  });
  const model = await getPeftModel(base, {
    peftType: "LORA",
    initLoraWeights: false,
    targetModules: "all-linear",
  });
  await model.backward({ inputIds, labels });
  await model.backward({ inputIds, labels });
  const spills = warnings.filter((text) => text.includes("waits in a file"));
  expect(spills).toHaveLength(1);
  expect(spills[0]).toMatch(
    /^\d tokens at once do not fit the memory limit of 1 MiB: what such a batch keeps for its backward pass waits in a file in \//,
  );
  const whole = await gradients(undefined);
  for (const [i, [name, grad]] of whole.grads.entries())
    expectClose(
      name,
      model.trainableParameters()[i]!.grad!.map((value) => value / 2),
      grad,
      { absolute: 1e-6, relative: 1e-4 },
    );
});

test("one pass over a batch that spills gives, bit for bit, what it gives in memory", async () => {
  const results: (readonly [number, number[][]])[] = [];
  for (const limit of [undefined, "spilled"] as const) {
    await using base = await AutoModelForCausalLM.fromPretrained(path, {
      memoryBytes: limit && 1_000_000,
      onWarning: () => undefined,
    });
    const model = await getPeftModel(base, { peftType: "LORA", initLoraWeights: false });
    const row = { inputIds: [inputIds[1]!], labels: [labels[1]!] };
    const { loss } = await model.backward(row);
    results.push([loss, model.trainableParameters().map(({ grad }) => [...grad!])]);
  }
  expect(results[1]).toEqual(results[0]);
});
