import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { asOneGraph, type Continuation, stageByStage } from "../src/auto/continuation.js";
import { AutoModelForCausalLM, type CausalLanguageModel, createEngine, getPeftModel } from "../src/index.js";
import { CachedPrograms } from "../src/nn/cached-program.js";
import type { TokenBatch } from "../src/nn/stage.js";
import { expectClose } from "./support/close.js";

const fixture = (name: string): string => join(import.meta.dirname, "fixtures", name);

/** Rows of some tokens each, behind those that the rows hold. */
function batchOf(counts: readonly number[], held: readonly number[], seed: number): TokenBatch {
  const rowOffsets = new Int32Array(counts.length + 1);
  for (const [i, count] of counts.entries()) rowOffsets[i + 1] = rowOffsets[i]! + count;
  return {
    tokens: Int32Array.from({ length: rowOffsets.at(-1)! }, (_, i) => (i * 31 + seed * 17 + 5) % 97),
    rowOffsets,
    positions: Int32Array.from(
      counts.flatMap((count, row) => Array.from({ length: count }, (_, t) => held[row]! + t)),
    ),
  };
}

/** Prompts, then steps of a token a row; the middle row leaves after the third. */
async function expectSame(
  model: CausalLanguageModel,
  one: Continuation | undefined,
  prompts: readonly number[],
  steps: number,
  absolute = 2e-5,
): Promise<void> {
  if (one === undefined) throw new Error("The model cannot be run as one graph.");
  const other = stageByStage(model);
  let held = prompts.map(() => 0);
  let counts = [...prompts];
  for (let step = 0; step <= steps; step += 1) {
    const batch = batchOf(counts, held, step);
    expectClose(`step ${step}`, await one.scores(batch, {}), await other.scores(batch, {}), {
      absolute,
    });
    held = held.map((length, row) => length + counts[row]!);
    if (step === 3 && held.length > 2) {
      const kept = [0, ...held.keys()].filter((row, i) => i > 0 && row !== 1);
      for (const continuation of [one, other]) continuation.keepRows(kept);
      held = kept.map((row) => held[row]!);
    }
    counts = held.map(() => 1);
  }
}

describe.each([
  "llama",
  "llama-bias",
  "llama-tied",
  "mistral",
  "qwen2",
  "qwen3",
  "phi3",
  "gemma",
  "gemma2",
  "gpt2",
])("scores of %s as one graph are those of stages", (name) => {
  test("rows of different lengths, one of which leaves", async () => {
    await using model = await AutoModelForCausalLM.fromPretrained(join(fixture(name), "model"));
    await getPeftModel(model, { peftType: "LORA", initLoraWeights: false, targetModules: "all-linear" });
    await expectSame(model, asOneGraph(model, 3), [5, 1, 9], 8);
    await expectSame(model, asOneGraph(model, 3), [1, 1, 1], 5);
  });
});

test.each([["llama"], ["mistral"], ["gemma2"]])(
  "prompts in chunks and a cache that grows: %s",
  async (name) => {
    await using model = await AutoModelForCausalLM.fromPretrained(join(fixture(name), "model"));
    await expectSame(model, asOneGraph(model, 2), [530, 60], 12);
  },
);

test.each([
  ["PREFIX_TUNING", { numVirtualTokens: 5, prefixProjection: false }],
  ["PREFIX_TUNING", { numVirtualTokens: 3, prefixProjection: true, encoderHiddenSize: 16 }],
  ["PROMPT_TUNING", { numVirtualTokens: 4 }],
  ["P_TUNING", { numVirtualTokens: 4, encoderHiddenSize: 16 }],
  ["IA3", {}],
] as const)("%s %o", async (peftType, options) => {
  await using model = await AutoModelForCausalLM.fromPretrained(join(fixture("llama"), "model"));
  await getPeftModel(model, { peftType, ...options } as Parameters<typeof getPeftModel>[1]);
  await expectSame(model, asOneGraph(model, 3), [7, 270, 1], 6);
});

describe.each(["float32", "int8"] as const)("blocks of a file, %s", (arithmetic) => {
  test.each([1, undefined])("graphs that end after %s bytes of weights", async (segmentBytes) => {
    await using model = await AutoModelForCausalLM.fromPretrained(fixture("gguf/llama.gguf"), { arithmetic });
    await getPeftModel(model, { peftType: "LORA", initLoraWeights: false, targetModules: ["q_proj"] });
    const programs = new CachedPrograms(model.runner, model.head, segmentBytes);
    const { length } = programs.current!.segments;
    expect(length > 1).toBe(segmentBytes === 1);
    // In 8 bits, what lies halfway between two steps may be rounded to either.
    const absolute = arithmetic === "int8" ? 0.05 : 2e-5;
    await expectSame(model, asOneGraph(model, 3, programs), [6, 3, 20], 6, absolute);
  });
});

test("what cannot be run as one graph is run stage by stage", async () => {
  const path = join(fixture("llama"), "model");
  const engine = await createEngine({ engine: "ort-node" });
  await using copying = await AutoModelForCausalLM.fromPretrained(path, { engine });
  await using limited = await AutoModelForCausalLM.fromPretrained(path, { memoryBytes: 2 ** 30 });
  for (const model of [copying, limited]) expect(model.cachedPrograms.current).toBeUndefined();
});
