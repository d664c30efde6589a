import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { fixturesFolder } from "../../test/support/fixture.js";
import {
  AutoModelForCausalLM,
  AutoModelForSeq2SeqLM,
  AutoModelForSequenceClassification,
} from "../auto/auto-model.js";
import type { CausalLanguageModel } from "../auto/causal-language-model.js";
import type { PretrainedModel } from "../auto/pretrained-model.js";
import { Random } from "../base/random.js";
import type { PeftConfig } from "../methods/index.js";
import { defineMethod, type InputRows } from "../methods/method.js";
import type { TaskBatch } from "../text/collate.js";
import type { CalibratedAttachOptions } from "./attach-fresh.js";
import { registerMethod } from "./method-registry.js";
import { getPeftModel } from "./get-peft-model.js";
import { PeftModel } from "./peft-model.js";

let base: CausalLanguageModel;
beforeAll(async () => {
  base = await AutoModelForCausalLM.fromPretrained(join(fixturesFolder, "llama/model"));
});
afterAll(async () => {
  await base.close();
});

/** Rows of random tokens; the first two of each are not learnt. */
function batches(count: number, rows = 4, length = 12): TaskBatch[] {
  const random = new Random(5);
  const row = (): number[] => Array.from({ length }, () => 1 + Math.floor(90 * random.next()));
  return Array.from({ length: count }, () => {
    const inputIds = Array.from({ length: rows }, row);
    return { inputIds, labels: inputIds.map((ids) => ids.map((id, i) => (i < 2 ? -100 : id))) };
  });
}

const eva = { peftType: "LORA", r: 4, targetModules: ["q_proj", "v_proj"], initLoraWeights: "eva" } as const;
const messageOfAt = (
  model: PretrainedModel,
  config: PeftConfig,
  options: CalibratedAttachOptions,
): Promise<string> =>
  getPeftModel(model, config, options).then(
    () => "it was taken",
    (error: unknown) => (error as Error).message,
  );
const messageOf = (config: PeftConfig, options: CalibratedAttachOptions = {}): Promise<string> =>
  messageOfAt(base, config, options);

describe("batches that are not there, or not enough", () => {
  test("none were given", async () => {
    const expected = await messageOf(eva);
    expect(expected).toMatchInlineSnapshot(`
      "initLoraWeights: eva looks at data before the adapter is attached, and no batches were given.
      fix: getPeftModel(base, config, { calibration: batches })
       or: peft train, which takes them from its data
       or: another start, which looks at no data: initLoraWeights: true"
    `);
    expect(() => new PeftModel(base).addAdapter(eva)).toThrow(expected);
  });

  test("there is none in what was given", async () => {
    expect(await messageOf(eva, { calibration: [] })).toMatchInlineSnapshot(`
      "initLoraWeights: eva looks at data before the adapter is attached, and calibration holds no batch.
      fix: calibration: [{ inputIds: [[...]], labels: [[...]] }, ...]"
    `);
  });

  test("too few tokens count at once", async () => {
    const calibration = batches(1, 1, 8);
    expect(await messageOf(eva, { calibration })).toMatchInlineSnapshot(`
      "The batches have 6 tokens that count (those whose label is not -100); initLoraWeights: eva needs 8 or more to find 8 directions (r · rho).
      fix: more rows in calibration
       or: a smaller r, or evaConfig: { rho: 1 }
       or: evaConfig: { useLabelMask: false }"
    `);
  });

  test("there are fewer inputs than directions", async () => {
    expect(await messageOf({ ...eva, r: 20 }, { calibration: batches(2) })).toMatchInlineSnapshot(`
      "r · rho: 20 · 2 = 40 is more than the 32 inputs of model.layers.0.self_attn.q_proj, so eva cannot find as many directions.
      fix: evaConfig: { rho: 1.6 }
       or: r: 16"
    `);
  });

  test("a batch that does not fit", async () => {
    const calibration = [{ inputIds: [[1, 2, 97]] }];
    expect(await messageOf(eva, { calibration })).toMatchInlineSnapshot(
      `"inputIds: entry 2 of row 0 is 97; a whole number from 0 to 96 was expected."`,
    );
    expect(base.module.inputEmbedding!.attachments).toEqual([]);
  });

  test("nothing looks at them", async () => {
    const config = { peftType: "LORA", targetModules: ["q_proj"] } as const;
    const model = await getPeftModel(base, config, { calibration: batches(1) });
    expect(model.warnings.map(({ text }) => text)).toMatchInlineSnapshot(`
      [
        "calibration has no effect: LORA with these options looks at no data.",
      ]
    `);
    model.deleteAdapter("default");
    const asked = await getPeftModel(base, config, {
      calibration: () => {
        throw new Error("nobody should ask");
      },
    });
    expect(asked.warnings).toEqual([]);
    asked.deleteAdapter("default");
  });

  test("a module of the head", async () => {
    const classifier = await AutoModelForSequenceClassification.fromPretrained(
      join(fixturesFolder, "tasks/bert-sequence/model"),
    );
    const config = { ...eva, r: 2, targetModules: ["query", "dense"] };
    const message = await getPeftModel(classifier, config, {
      calibration: batches(2, 4, 12).map(({ inputIds }) => ({
        inputIds: inputIds.map((row) => Array.from(row, (id) => id % 20)),
      })),
    }).catch((error: unknown) => (error as Error).message);
    expect(message).toMatchInlineSnapshot(`
      "initLoraWeights: eva cannot look at the inputs of bert.pooler.dense: the head reads them, and calibration runs the body alone.
        modules  bert.pooler.dense
      fix: excludeModules: ["bert.pooler.dense"]"
    `);
    await classifier.close();
  });
});

test("batches may come from a generator, and other adapters do not disturb", async () => {
  const once = await getPeftModel(base, eva, { calibration: batches(3) });
  const first = new Map([...once.adapter().tensors].map(([key, { data }]) => [key, data.slice()]));
  once.deleteAdapter("default");
  const model = await getPeftModel(base, { peftType: "LORA", initLoraWeights: false });
  async function* calibration(): AsyncGenerator<TaskBatch> {
    yield* batches(3);
  }
  await model.calibrateAdapter(eva, { adapterName: "second", calibration: calibration() });
  expect(model.activeAdapter).toBe("second");
  for (const [key, { data }] of model.adapter("second").tensors) expect(data).toEqual(first.get(key));
  for (const name of model.adapterNames) model.deleteAdapter(name);
});

test("tokens that are not learnt do not count, unless asked to", async () => {
  const start = async (useLabelMask: boolean, labels: boolean): Promise<Float32Array> => {
    const calibration = batches(3).map(({ inputIds, labels: own }) =>
      labels ? { inputIds, labels: own } : { inputIds },
    );
    const config = { ...eva, evaConfig: { useLabelMask, rho: 1 } };
    const model = await getPeftModel(base, config, { calibration });
    const data = [...model.adapter().tensors.values()][0]!.data.slice();
    model.deleteAdapter("default");
    return data;
  };
  const whole = await start(false, true);
  expect(await start(true, false)).toEqual(whole);
  expect(await start(true, true)).not.toEqual(whole);
});

test("a layer that explains little is left out, in what is saved too", async () => {
  const config = { ...eva, r: 1, targetModules: ["q_proj", "down_proj"], evaConfig: { rho: 6 } };
  const model = await getPeftModel(base, config, { calibration: batches(3) });
  const { places, tensors, config: own } = model.adapter();
  const ranks = places.map(({ path }) => tensors.get(`base_model.model.${path}.lora_A.weight`)!.shape[0]!);
  expect(ranks.reduce((sum, rank) => sum + rank, 0)).toBe(6);
  expect(places.length).toBeLessThan(6);
  const values = own["rankPattern"] as Readonly<Record<string, number>>;
  expect(places.map(({ path }) => values[path] ?? 1)).toEqual(ranks);
  model.deleteAdapter("default");
});

test("a method of another package looks at what reaches its modules", async () => {
  const seen: { paths: string[]; tokens: number; width: number; rows: number[] }[] = [];
  const counting = defineMethod({
    name: "CALIBRATED_TEST",
    title: "Test",
    paper: "none",
    formula: "y = W x",
    parameters: "1",
    advice: "None.",
    sites: ["linear"],
    quantisedBase: true,
    everywhere: true,
    config: {},
    inert: {},
    identityStart: () => true,
    mergeable: () => true,
    parameterCount: () => 1,
    calibration: (_config, targets) => ({
      reason: "CALIBRATED_TEST",
      places: targets.map(({ place }) => place).filter(({ path }) => path.startsWith("model.layers.0.")),
      inputs(places, { data, width, rowOffsets }: InputRows) {
        const paths = places.map(({ path }) => path.split(".").at(-1)!);
        seen.push({ paths, tokens: data.length / width, width, rows: [...rowOffsets] });
      },
      finish: () => ({ found: new Map(targets.map(({ place }) => [place.path, place.path.length])) }),
    }),
    attach(_site, _config, scope) {
      const found = scope.calibrated<number>()!;
      scope.param("test", [1], (data) => data.fill(found));
      return { forward: ({ base: layer, x }) => layer(x), merged: () => ({}) };
    },
  });
  registerMethod(counting);
  const config = { peftType: "CALIBRATED_TEST" } as unknown as PeftConfig;
  const model = await getPeftModel(base, config, {
    calibration: [
      {
        inputIds: [
          [1, 2, 3],
          [4, 5],
        ],
      },
    ],
  });
  expect(seen).toMatchInlineSnapshot(`
    [
      {
        "paths": [
          "q_proj",
          "k_proj",
          "v_proj",
        ],
        "rows": [
          0,
          3,
          5,
        ],
        "tokens": 5,
        "width": 32,
      },
      {
        "paths": [
          "o_proj",
        ],
        "rows": [
          0,
          3,
          5,
        ],
        "tokens": 5,
        "width": 32,
      },
      {
        "paths": [
          "gate_proj",
          "up_proj",
        ],
        "rows": [
          0,
          3,
          5,
        ],
        "tokens": 5,
        "width": 32,
      },
      {
        "paths": [
          "down_proj",
        ],
        "rows": [
          0,
          3,
          5,
        ],
        "tokens": 5,
        "width": 48,
      },
    ]
  `);
  const [first] = model.adapter().places;
  expect(model.adapter().tensors.get(`base_model.model.${first!.path}.test`)!.data[0]).toBe(
    first!.path.length,
  );
  model.deleteAdapter("default");
});

test("an encoder reads the source and its decoder the answer, each with rows of its own", async () => {
  const t5 = await AutoModelForSeq2SeqLM.fromPretrained(join(fixturesFolder, "seq2seq/t5/model"));
  const batch = {
    inputIds: [
      [5, 6, 7, 8],
      [9, 10, 11],
    ],
    labels: [
      [3, 4],
      [5, 1],
    ],
  };
  const corda = { peftType: "LORA", r: 2, targetModules: ["q", "v"], initLoraWeights: "corda" } as const;
  const model = await getPeftModel(t5, corda, { calibration: [batch] });
  // Every place got a start from what it reads: B A is a part of the weight, and none is zero.
  for (const [key, { data }] of model.adapter().tensors)
    expect(
      data.some((value) => value !== 0),
      key,
    ).toBe(true);
  const { loss } = await model.forward(batch);
  model.deleteAdapter("default");
  expect(loss).toBeCloseTo((await t5.forward(batch)).loss!, 4);

  const few = await messageOfAt(t5, { ...corda, initLoraWeights: "eva", r: 4 }, { calibration: [batch] });
  expect(few).toMatchInlineSnapshot(`
    "The batches have 7 tokens that count (those whose label is not -100); initLoraWeights: eva needs 8 or more to find 8 directions (r · rho).
    fix: more rows in calibration
     or: a smaller r, or evaConfig: { rho: 1 }
     or: evaConfig: { useLabelMask: false }"
  `);
  await t5.close();
});
