import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { expectClose } from "../../test/support/close.js";
import { fixturesFolder } from "../../test/support/fixture.js";
import { AutoModelForCausalLM } from "../auto/auto-model.js";
import { getPeftModel } from "../peft/get-peft-model.js";
import { Dataset } from "../text/dataset.js";
import { AdamW } from "./adamw.js";
import type { TrainEvent } from "./event.js";
import { getScheduler } from "./schedule.js";
import { evaluate, train, type TrainRunOptions } from "./train.js";
import { tinyConfig } from "../testing/tiny-model.js";
import { fingerprint, takeSnapshot, verifyOnlyAdapterMoved } from "./verify.js";

const base = await AutoModelForCausalLM.fromPretrained(join(fixturesFolder, "llama/model"));
afterAll(() => base.close());

const dataset = new Dataset(
  Array.from({ length: 7 }, (_, row) => {
    const inputIds = Array.from({ length: 4 + row }, (__, t) => 3 + ((row * 13 + t * 7) % 90));
    const labels = inputIds.map((id, t) => (t > row / 2 ? id : -100));
    const trained = labels.slice(1).filter((label) => label !== -100).length;
    return { source: `rows.jsonl:${row + 1}`, inputIds, labels, truncated: 0, trained };
  }),
);

async function run(
  options: TrainRunOptions,
  dropout = 0,
): Promise<{ events: TrainEvent[]; weights: Float32Array[] }> {
  const model = await getPeftModel(base, {
    peftType: "LORA",
    r: 4,
    targetModules: ["q_proj", "v_proj"],
    loraDropout: dropout,
  });
  try {
    const events: TrainEvent[] = [];
    for await (const event of train(model, dataset, options)) events.push(event);
    return { events, weights: model.trainableParameters().map(({ data }) => data.slice()) };
  } finally {
    model.deleteAdapter("default");
  }
}

const steps = (events: readonly TrainEvent[]) => events.filter((event) => event.type === "step");

describe("training", () => {
  test("events in order, with a loss that falls", async () => {
    const { events } = await run({
      epochs: 10,
      batchSize: 4,
      learningRate: 1e-2,
      evalDataset: dataset,
      warmupRatio: 0.1,
    });
    expect(events[0]).toMatchObject({
      type: "start",
      totalSteps: 20,
      rows: 7,
      trainableParameters: 4 * (32 + 32 + 32 + 16) * 3,
    });
    expect(events.at(-1)).toMatchObject({ type: "end", reason: "completed", steps: 20 });
    const losses = steps(events).map(({ loss }) => loss);
    expect(losses.at(-1)!).toBeLessThan(losses[0]! - 0.3);
    expect(steps(events)[0]).toMatchObject({ step: 1, totalSteps: 20, learningRate: 0, epoch: 0.5 });
    const evals = events.filter((event) => event.type === "eval");
    expect(evals).toHaveLength(10);
    expect(evals.at(-1)!.loss).toBeLessThan(evals[0]!.loss);
  });

  test("the result does not depend on how a step is cut into batches", async () => {
    const options = { maxSteps: 3, learningRate: 1e-2, seed: 5 };
    const whole = await run({ ...options, batchSize: 6, gradientAccumulation: 1 });
    for (const [batchSize, gradientAccumulation] of [
      [3, 2],
      [2, 3],
      [1, 6],
    ] as const) {
      const cut = await run({ ...options, batchSize, gradientAccumulation });
      expectClose(
        "losses",
        steps(cut.events).map(({ loss }) => loss),
        steps(whole.events).map(({ loss }) => loss),
        { absolute: 1e-5 },
      );
      for (const [i, weights] of cut.weights.entries())
        expectClose("weights", weights, whole.weights[i]!, { absolute: 2e-4 });
    }
  });

  test("the same seed gives the same run, dropout included; another seed another one", async () => {
    const options = { maxSteps: 3, batchSize: 2, learningRate: 1e-2 };
    const [a, b, c] = [
      await run(options, 0.3),
      await run(options, 0.3),
      await run({ ...options, seed: 1 }, 0.3),
    ];
    expect(a.weights).toEqual(b.weights);
    expect(a.weights).not.toEqual(c!.weights);
    const still = await run(options, 0);
    expect(a.weights).not.toEqual(still.weights);
  });

  test("leaves the event loop free during a step", async () => {
    const large = await AutoModelForCausalLM.fromConfig({
      model_type: "llama",
      hidden_size: 256,
      intermediate_size: 768,
      num_hidden_layers: 6,
      num_attention_heads: 4,
      vocab_size: 4096,
      max_position_embeddings: 512,
    });
    const model = await getPeftModel(large, { peftType: "LORA", r: 8 });
    const inputIds = Array.from({ length: 4 }, (_, row) =>
      Array.from({ length: 256 }, (__, t) => (row * 977 + t * 31) % 4096),
    );
    // The first step compiles; the ticks of the next ones are counted.
    await model.backward({ inputIds, labels: inputIds });
    let ticks = 0;
    const timer = setInterval(() => (ticks += 1), 10);
    const began = performance.now();
    while (performance.now() - began < 300) await model.backward({ inputIds, labels: inputIds });
    const possible = (performance.now() - began) / 10;
    clearInterval(timer);
    await large.close();
    expect(ticks).toBeGreaterThan(possible / 4);
  });

  test("with the optimiser that is asked for, by either name", async () => {
    const options = { maxSteps: 4, batchSize: 4, learningRate: 1e-2 };
    const [plain, torch] = [await run(options), await run({ ...options, optim: "adamw_torch" })];
    expect(torch.weights).toEqual(plain.weights);
    const coded = await run({ ...options, optim: "adamw_bnb_8bit" });
    // All adapters here are small, and small ones stay as they are.
    expect(coded.weights).toEqual(plain.weights);
    expect(coded.events[0]).toMatchObject({ optimizer: "adamw_bnb_8bit", optimizerBytes: 8 * 4 * 112 * 3 });
    await expect(run({ optim: "adam8bit" as "adamw" })).rejects.toThrowErrorMatchingInlineSnapshot(`
      [ConfigError: train has an option that cannot be used.
        optim  "adam8bit" is not one of adamw, adamw_torch, adamw_8bit, adamw_bnb_8bit
      fix: optim: "adamw"]
    `);
    await expect(run({ optimizer: "adamw" } as never)).rejects.toThrowErrorMatchingInlineSnapshot(`
      [ConfigError: train has an option that cannot be used.
        optimizer  there is no such option; it is called optim here]
    `);
  });

  test("a signal ends the run after the step", async () => {
    const controller = new AbortController();
    const model = await getPeftModel(base, { peftType: "LORA", r: 2 });
    const events: TrainEvent[] = [];
    for await (const event of train(model, dataset, { epochs: 9, batchSize: 1, signal: controller.signal })) {
      events.push(event);
      if (event.type === "step" && event.step === 2) controller.abort();
    }
    model.deleteAdapter("default");
    expect(events.at(-1)).toMatchObject({ type: "end", reason: "aborted", steps: 2 });
  });

  test("a loss that is not finite stops the run before the step and names what is wrong", async () => {
    const model = await getPeftModel(base, { peftType: "LORA", r: 2, targetModules: ["q_proj"] });
    const broken = model.trainableParameters()[2]!;
    const kept = model.trainableParameters().map(({ data }) => data.slice());
    broken.data[3] = Number.NaN;
    kept[2]![3] = Number.NaN;
    const work = async () => {
      for await (const event of train(model, dataset, { maxSteps: 2, batchSize: 2, shuffle: false }))
        void event;
    };
    await expect(work()).rejects.toThrowErrorMatchingInlineSnapshot(`
      [NonFiniteError: Loss became NaN at step 1 (epoch 0.25). Training stopped; step 1 was not applied.
        first     base_model.model.model.layers.1.self_attn.q_proj.lora_A.default.weight (1 of 64 values)
        rows      rows.jsonl:1, rows.jsonl:2
        settings  learningRate 0.0002, maxGradNorm 1
        kept      the adapter as it was after step 0
      fix: learningRate: 0.00002]
    `);
    expect(model.trainableParameters().map(({ data }) => data)).toEqual(kept);
    model.deleteAdapter("default");
  });

  test("full fine-tuning moves every weight", async () => {
    const own = await AutoModelForCausalLM.fromPretrained(join(fixturesFolder, "qwen2/model"));
    own.setTrainable(true);
    const before = own.trainableParameters().map(({ tensor }) => fingerprint(tensor));
    const first = await evaluate(own, dataset);
    for await (const event of train(own, dataset, { epochs: 4, batchSize: 4, learningRate: 3e-3 }))
      void event;
    const after = own.trainableParameters().map(({ tensor }) => fingerprint(tensor));
    expect(after.every((value, i) => value !== before[i])).toBe(true);
    expect((await evaluate(own, dataset)).loss).toBeLessThan(first.loss);
    await own.close();
  });

  test("options out of bounds are all named", async () => {
    const bad = { batchSize: 0, learningRate: -1, lrScheduler: "cosine", epochs: 0 } as TrainRunOptions;
    await expect(run(bad)).rejects.toThrowErrorMatchingInlineSnapshot(`
      [ConfigError: train has 4 options that cannot be used.
        batchSize     0 is too small; at least 1 was expected
        learningRate  -1 is too small; at least 0 was expected
        lrScheduler   there is no such option; it is called lrSchedulerType here
        epochs        0 is too small; above 0 was expected
      fix: batchSize: 4, learningRate: 0.0002, epochs: 3]
    `);
  });
});

describe("verification", () => {
  test("sees one flipped bit of the base and a tensor that did not move", async () => {
    const own = await AutoModelForCausalLM.fromPretrained(join(fixturesFolder, "llama/model"));
    for (const parameter of own.namedParameters()) {
      const copy = Float32Array.from(parameter.data);
      parameter.allocate().set(copy);
    }
    const model = await getPeftModel(own, { peftType: "LORA", r: 2, targetModules: ["q_proj"] });
    const before = takeSnapshot(model);
    for await (const event of train(model, dataset, { maxSteps: 2, batchSize: 4, learningRate: 1e-2 }))
      void event;
    expect(verifyOnlyAdapterMoved(model, before)).toMatchObject({
      ok: true,
      baseTensors: 29,
      adapterTensors: 6,
    });
    const [victim] = [...own.namedParameters()].slice(4);
    new Uint8Array(victim!.data.buffer)[17]! ^= 1;
    const [name, values] = [...before.adapter][0]!;
    model.adapter().tensors.get(name)!.data.set(values);
    expect(verifyOnlyAdapterMoved(model, before)).toMatchObject({
      ok: false,
      baseChanged: [victim!.name],
      adapterUnmoved: [name],
    });
    await own.close();
  });
});

test("AdamW goes on from a saved state as if nothing had happened", async () => {
  const model = await getPeftModel(base, { peftType: "LORA", r: 2, targetModules: ["q_proj"] });
  const [parameter] = model.trainableParameters();
  const move = async (optimizer: AdamW, count: number): Promise<void> => {
    for (let i = 0; i < count; i += 1) {
      parameter!.grad = parameter!.data.map((v) => Math.sin(v * 100));
      await optimizer.step();
    }
  };
  const first = new AdamW([parameter!], { learningRate: 0.1, weightDecay: 0.1 });
  await move(first, 3);
  const [values, state] = [parameter!.data.slice(), structuredClone(first.state())];
  await move(first, 2);
  const expected = parameter!.data.slice();
  parameter!.data.set(values);
  const second = new AdamW([parameter!], { learningRate: 0.1, weightDecay: 0.1 });
  second.loadState(state);
  await move(second, 2);
  expect(parameter!.data).toEqual(expected);
  model.deleteAdapter("default");
});

test("a schedule that does not exist", () => {
  expect(() => getScheduler("cosin" as "cosine", { learningRate: 1 }, { totalSteps: 1 }))
    .toThrowErrorMatchingInlineSnapshot(`
    [ConfigError: There is no schedule called "cosin".
      nearest    cosine
      schedules  linear, cosine, constant, constant_with_warmup]
  `);
});

test("arrays of gradients serve again where that is asked for, and only there", async () => {
  const tiny = await AutoModelForCausalLM.fromConfig(tinyConfig("llama"), { seed: 1 });
  const model = await getPeftModel(tiny, { peftType: "LORA", r: 2, targetModules: "all-linear" });
  const batch = { inputIds: [[5, 6, 7, 8]], labels: [[5, 6, 7, 8]] };
  const optimizer = new AdamW(model.trainableParameters());
  const gradients = async () => {
    await model.backward(batch);
    return model.trainableParameters().map(({ grad }) => grad!);
  };
  const first = await gradients();
  const copies = first.map((grad) => grad.slice());
  optimizer.zeroGrad({ reuse: true });
  const second = await gradients();
  expect(second.every((grad, i) => grad === first[i])).toBe(true);
  expect(second).toEqual(copies);
  optimizer.zeroGrad();
  const third = await gradients();
  expect(third.some((grad, i) => grad === first[i])).toBe(false);
  expect(third).toEqual(copies);
  await tiny.close();
});
