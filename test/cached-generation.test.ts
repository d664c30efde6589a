import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { asOneGraph, type Continuation, stageByStage } from "../src/auto/continuation.js";
import { AutoModelForCausalLM, type CausalLanguageModel, createEngine, getPeftModel } from "../src/index.js";
import { CachedPrograms } from "../src/nn/cached-program.js";
import { Profiler } from "../src/nn/profiler.js";
import type { Crew } from "../src/runtime/engine.js";
import type { SharedMemory } from "../src/steps/web-assembly.js";
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
  { exact = model, absolute = 2e-5 }: { exact?: CausalLanguageModel; absolute?: number } = {},
): Promise<void> {
  if (one === undefined) throw new Error("The model cannot be run as one graph.");
  const other = stageByStage(exact);
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
  await one.release();
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
    const programs = new CachedPrograms(model.runner, model.head, { segmentBytes, inSteps: false });
    const { length } = programs.current!.segments;
    expect(length > 1).toBe(segmentBytes === 1);
    // In 8 bits, what lies halfway between two steps may be rounded to either.
    const absolute = arithmetic === "int8" ? 0.05 : 2e-5;
    await expectSame(model, asOneGraph(model, 3, programs), [6, 3, 20], 6, { absolute });
  });
});

/** Names of the graphs that are run meanwhile. */
async function graphsOf(model: CausalLanguageModel, work: () => Promise<void>): Promise<Set<string>> {
  const profiler = new Profiler();
  model.runner.sessions.profiler = profiler;
  await work();
  model.runner.sessions.profiler = undefined;
  return new Set(profiler.spans.map(({ name }) => name));
}

const STEPS = "model (steps)";

describe("small steps over blocks of a file", () => {
  const open = async (arithmetic: "float32" | "int8", [peftType, options]: readonly [string, object]) => {
    const model = await AutoModelForCausalLM.fromPretrained(fixture("gguf/llama.gguf"), { arithmetic });
    await getPeftModel(model, { peftType, ...options } as Parameters<typeof getPeftModel>[1]);
    return model;
  };

  // In 8 bits too: what blocks are multiplied with has 16 bits here.
  test.each([
    ["float32", ["LORA", { initLoraWeights: false, targetModules: "all-linear" }]],
    ["float32", ["LORA", { initLoraWeights: false, targetModules: ["v_proj"], useRslora: true, r: 3 }]],
    ["float32", ["IA3", { initIa3Weights: false }]],
    ["float32", ["PREFIX_TUNING", { numVirtualTokens: 5 }]],
    ["float32", ["PROMPT_TUNING", { numVirtualTokens: 4 }]],
    ["float32", ["LOHA", { initWeights: false, targetModules: ["q_proj"] }]],
    ["int8", ["LORA", { initLoraWeights: false, targetModules: "all-linear" }]],
    ["int8", ["IA3", { initIa3Weights: false }]],
  ] as const)("%s %j: scores of float32 stages, in a cache that grows", async (arithmetic, adapter) => {
    await using model = await open(arithmetic, adapter);
    await using exact = await open("float32", adapter);
    const graphs = await graphsOf(model, () =>
      expectSame(model, asOneGraph(model, 2), [1, 1], 70, { exact, absolute: 2e-3 }),
    );
    expect(graphs).toContain(STEPS);
  });

  test("prompts, rows that leave, and a prompt behind what was written", async () => {
    await using model = await open("float32", [
      "LORA",
      { initLoraWeights: false, targetModules: ["q_proj"] },
    ]);
    const options = { exact: model, absolute: 2e-3 };
    const graphs = await graphsOf(model, () =>
      expectSame(model, asOneGraph(model, 3), [6, 3, 20], 8, options),
    );
    expect([...graphs]).toEqual(expect.arrayContaining([STEPS, "model"]));
  });

  test("two generations at once", async () => {
    await using model = await open("float32", ["IA3", { initIa3Weights: false }]);
    const options = { exact: model, absolute: 2e-3 };
    const both = [
      expectSame(model, asOneGraph(model, 1), [4], 20, options),
      expectSame(model, asOneGraph(model, 2), [1, 3], 9, options),
    ];
    expect(await graphsOf(model, async () => void (await Promise.all(both)))).toContain(STEPS);
  });

  test("what has no steps, such as the norms of DoRA, is left to the runtime, and so is a model that was trained", async () => {
    await using dora = await open("float32", ["LORA", { useDora: true, targetModules: ["o_proj"] }]);
    expect(await graphsOf(dora, () => expectSame(dora, asOneGraph(dora, 1), [3], 3))).not.toContain(STEPS);
    await using model = await open("float32", ["LORA", { targetModules: ["q_proj"] }]);
    const written = () =>
      graphsOf(model, () =>
        expectSame(model, asOneGraph(model, 1), [3], 3, { exact: model, absolute: 2e-3 }),
      );
    expect(await written()).toContain(STEPS);
    const pass = await model.runner.forward(batchOf([3], [0], 1), { training: true, gradients: true });
    pass.release();
    expect(await written()).not.toContain(STEPS);
  });
});

test.each([
  [
    "no threads can be started",
    () => {
      throw new Error("no threads");
    },
  ],
  ["there is too little memory", (crew: Crew) => Object.assign(crew, { mostBytes: 1000 })],
  [
    "weights cannot be copied as a whole",
    (crew: Crew, memory: SharedMemory) => {
      memory.grow = () => {
        throw new RangeError("no memory");
      };
      return crew;
    },
  ],
] as const)("where %s, the runtime writes", async (_, change) => {
  const engine = await createEngine();
  const openCrew = (memory: SharedMemory): Crew => change(engine.openCrew!(memory), memory);
  await using model = await AutoModelForCausalLM.fromPretrained(fixture("gguf/llama.gguf"), {
    engine: { ...engine, openCrew },
  });
  for (let i = 0; i < 2; i += 1)
    expect(await graphsOf(model, () => expectSame(model, asOneGraph(model, 1), [3], 5))).not.toContain(STEPS);
});

test.each(["llama-bfloat16", "llama-float16"])("small steps over weights of 16 bits: %s", async (name) => {
  await using model = await AutoModelForCausalLM.fromPretrained(join(fixture(name), "model"));
  await getPeftModel(model, { peftType: "LORA", initLoraWeights: false, targetModules: "all-linear" });
  const graphs = await graphsOf(model, () => expectSame(model, asOneGraph(model, 3), [5, 1, 9], 70));
  expect(graphs).toContain(STEPS);
  await using rounded = await AutoModelForCausalLM.fromPretrained(join(fixture(name), "model"), {
    arithmetic: "int8",
  });
  expect(rounded.cachedPrograms.steps).toBeUndefined();
});

test("what cannot be run as one graph is run stage by stage", async () => {
  const path = join(fixture("llama"), "model");
  const engine = await createEngine({ engine: "ort-node" });
  await using copying = await AutoModelForCausalLM.fromPretrained(path, { engine });
  await using limited = await AutoModelForCausalLM.fromPretrained(path, { memoryBytes: 2 ** 30 });
  for (const model of [copying, limited]) expect(model.cachedPrograms.current).toBeUndefined();
});
