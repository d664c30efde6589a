import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { expectClose } from "../../test/support/close.js";
import { fixturesFolder } from "../../test/support/fixture.js";
import { AutoModelForCausalLM } from "../auto/auto-model.js";
import type { CausalLanguageModel } from "../auto/causal-language-model.js";
import { Random } from "../base/random.js";
import { getPeftModel } from "../peft/get-peft-model.js";
import { PeftModel } from "../peft/peft-model.js";
import { AdamW } from "../train/adamw.js";
import type { PeftConfig } from "./index.js";
import { startOptions, startsBySettings } from "./lora-start.js";

let base: CausalLanguageModel;
let folder: string;
beforeAll(async () => {
  base = await AutoModelForCausalLM.fromPretrained(join(fixturesFolder, "llama/model"));
  folder = await mkdtemp(join(tmpdir(), "peft-lora-starts-"));
});
afterAll(async () => {
  await base.close();
  await rm(folder, { recursive: true });
});

const random = new Random(7);
const inputIds = Array.from({ length: 6 }, () =>
  Array.from({ length: 14 }, () => 1 + Math.floor(90 * random.next())),
);
const calibration = [
  { inputIds: inputIds.slice(0, 3), labels: inputIds.slice(0, 3) },
  { inputIds: inputIds.slice(3), labels: inputIds.slice(3) },
];
const batch = calibration[0]!;

type Lora = Extract<PeftConfig, { readonly peftType: "LORA" }>;
const config = (more: Partial<Lora>): Lora => ({
  peftType: "LORA",
  r: 4,
  targetModules: ["q_proj", "v_proj"],
  ...more,
});
const messageOf = (more: Partial<Lora>, batches: readonly object[] = calibration): Promise<string> =>
  getPeftModel(base, config(more), { calibration: () => batches as typeof calibration }).then(
    () => "it was taken",
    (error: unknown) => (error as Error).message,
  );
const logits = async (): Promise<Float32Array> =>
  (await base.forward({ inputIds: batch.inputIds })).logits.data;

describe.each([
  { initLoraWeights: "eva" },
  { initLoraWeights: "corda", cordaConfig: { cordaMethod: "kpm" } },
  { initLoraWeights: "lora_ga", loraGaConfig: { direction: "random" } },
  { initLoraWeights: "mica" },
  { initLoraWeights: "mica", targetModules: ["embed_tokens"] },
] as const)("$initLoraWeights", (more: Partial<Lora>) => {
  test("leaves the model as it is, learns, comes back from its file and can be merged", async () => {
    const before = await logits();
    const own = await AutoModelForCausalLM.fromPretrained(join(fixturesFolder, "llama/model"));
    const model = await getPeftModel(own, config(more), { calibration: () => calibration });
    const scores = async (): Promise<Float32Array> =>
      (await own.forward({ inputIds: batch.inputIds })).logits.data;
    expectClose("logits at the start", await scores(), before, { absolute: 5e-5 });
    const optimizer = new AdamW(model.trainableParameters(), { learningRate: 5e-3 });
    const losses: number[] = [];
    for (let step = 1; step <= 6; step += 1) {
      losses.push((await model.backward(batch)).loss);
      await optimizer.step();
      optimizer.zeroGrad();
    }
    expect(losses.at(-1)).toBeLessThan(losses[0]!);
    const trained = await scores();
    const path = join(folder, `${more.initLoraWeights as string}-${String(more.targetModules)}`);
    await model.savePretrained(path);
    const again = await PeftModel.fromPretrained(base, path);
    expectClose("logits of what was saved", await logits(), trained, { absolute: 1e-4 });
    again.deleteAdapter("default");
    await model.mergeAndUnload();
    expectClose("logits of the merged model", await scores(), trained, { absolute: 2e-4 });
    await own.close();
  });
});

test("mica trains A alone, also after it comes from a file", async () => {
  const model = await getPeftModel(base, config({ initLoraWeights: "mica" }));
  expect(model.trainableParameters().every(({ name }) => name.includes("lora_A"))).toBe(true);
  const path = join(folder, "mica");
  await model.savePretrained(path);
  model.deleteAdapter("default");
  const again = await PeftModel.fromPretrained(base, path, { isTrainable: true });
  expect(again.trainableParameters().map(({ name }) => name.includes("lora_A"))).toEqual(
    Array.from({ length: 6 }, () => true),
  );
  again.deleteAdapter("default");
});

test("what was a start from data is saved as an ordinary LoRA", async () => {
  const model = await getPeftModel(
    base,
    config({ initLoraWeights: "corda", cordaConfig: { cordaMethod: "kpm" } }),
    {
      calibration,
    },
  );
  const path = join(folder, "corda-ordinary");
  await model.savePretrained(path);
  model.deleteAdapter("default");
  const written = JSON.parse(await readFile(join(path, "adapter_config.json"), "utf8")) as Record<
    string,
    unknown
  >;
  const keys = ["r", "init_lora_weights", "corda_config", "eva_config", "lora_ga_config"];
  expect(keys.map((key) => written[key])).toEqual([8, true, null, null, null]);
});

test.each(["corda", "lora_ga"])(
  "a file of Python that starts from %s without the part of the weight",
  async (start) => {
    const path = join(folder, `python-${start}`);
    const model = await getPeftModel(base, config({}));
    await model.savePretrained(path);
    model.deleteAdapter("default");
    const file = join(path, "adapter_config.json");
    const values = JSON.parse(await readFile(file, "utf8")) as Record<string, unknown>;
    await writeFile(file, JSON.stringify({ ...values, init_lora_weights: start }));
    const error = await PeftModel.fromPretrained(base, path).catch((fault: unknown) => fault as Error);
    expect((error as Error).message.replaceAll(start, "START")).toMatchInlineSnapshot(`
      "The adapter starts from START, which depends on data that its file does not hold.
        module  model.layers.0.self_attn.q_proj
      fix: save it as an ordinary LoRA in Python: save_pretrained(..., path_initial_model_for_weight_conversion=...)"
    `);
  },
);

describe("options that cannot be used", () => {
  test("settings of another start, and settings that are wrong", async () => {
    const stray = {
      evaConfig: { rho: 1 },
      loraGaConfig: { scale: "unit" },
      initLoraWeights: "corda",
    } as const;
    expect(await messageOf(stray)).toMatchInlineSnapshot(`
      "LORA has 2 options that cannot be used.
        evaConfig     with initLoraWeights: corda: it has an effect with eva alone
        loraGaConfig  with initLoraWeights: corda: it has an effect with lora_ga alone
      fix: leave evaConfig out, leave loraGaConfig out"
    `);
    const wrong = { initLoraWeights: "corda", cordaConfig: { cordaMethod: "ipn" as "ipm" } } as const;
    expect(await messageOf(wrong)).toMatchInlineSnapshot(`
      "LORA has an option that cannot be used.
        cordaConfig.cordaMethod  "ipn" is not one of ipm, kpm
      fix: cordaMethod: "ipm" in cordaConfig"
    `);
    const bad = {
      initLoraWeights: "lora_ga",
      loraGaConfig: { direction: "ArBR" as "ArBr", stableGamma: 0 },
    } as const;
    expect(await messageOf(bad)).toMatchInlineSnapshot(`
      "LORA has 2 options that cannot be used.
        loraGaConfig.direction    "ArBR" is not one of ArBr, A2rBr, ArB2r, random
        loraGaConfig.stableGamma  0 is too small; above 0 was expected
      fix: direction: "ArB2r" in loraGaConfig, stableGamma: 16 in loraGaConfig"
    `);
  });

  test("ranks that layers do not have", async () => {
    expect(await messageOf({ initLoraWeights: "lora_ga", r: 9 })).toMatchInlineSnapshot(`
      "r: 9 is larger than 1/2 of the smaller side of model.layers.0.self_attn.v_proj (16, 32), which lora_ga cannot fill.
      fix: r: 8
       or: rankPattern: { "model.layers.0.self_attn.v_proj": 8 }"
    `);
    expect(await messageOf({ initLoraWeights: "mica", r: 17 })).toMatchInlineSnapshot(`
      "r: 17 is larger than the smaller side of model.layers.0.self_attn.v_proj (16, 32), which mica cannot fill.
      fix: r: 16
       or: rankPattern: { "model.layers.0.self_attn.v_proj": 16 }"
    `);
  });

  test("DoRA", async () => {
    expect(await messageOf({ initLoraWeights: "mica", useDora: true })).toMatchInlineSnapshot(`
      "LORA has an option that cannot be used.
        useDora  with initLoraWeights: true: the two do not work together
      fix: useDora: false"
    `);
    expect(await messageOf({ initLoraWeights: "corda", useDora: true })).toMatchInlineSnapshot(`
      "LORA has an option that cannot be used.
        useDora  with initLoraWeights: true: the lengths belong to a weight that the start takes apart; choose one of the two
      fix: useDora: false"
    `);
  });

  test("batches without labels where gradients are needed", async () => {
    const unlabelled = calibration.map(({ inputIds: ids }) => ({ inputIds: ids }));
    expect(await messageOf({ initLoraWeights: "lora_ga" }, unlabelled)).toMatchInlineSnapshot(`
      "initLoraWeights: lora_ga needs gradients, and none of the 2 batches has a label to learn.
      fix: calibration batches with labels, as for training"
    `);
    expect(base.trainableParameters()).toEqual([]);
    for (const module of base.modules()) expect(module.attachments).toEqual([]);
  });
});

test("every option with settings belongs to a start", () => {
  expect([...startsBySettings.keys()].sort()).toEqual(Object.keys(startOptions).sort());
});
