import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { expectClose } from "../../test/support/close.js";
import { fixturesFolder } from "../../test/support/fixture.js";
import { AutoModelForCausalLM } from "../auto/auto-model.js";
import type { CausalLanguageModel } from "../auto/causal-language-model.js";
import type { PeftConfig } from "../methods/index.js";
import { getPeftModel } from "./get-peft-model.js";
import { PeftModel } from "./peft-model.js";

type LoraConfig = Extract<PeftConfig, { readonly peftType: "LORA" }>;

const folder = mkdtempSync(join(tmpdir(), "target-parameters-"));
let llama: CausalLanguageModel;
let gpt2: CausalLanguageModel;
const models: PeftModel[] = [];
beforeAll(async () => {
  const open = (name: string) => AutoModelForCausalLM.fromPretrained(join(fixturesFolder, name, "model"));
  [llama, gpt2] = [await open("llama"), await open("gpt2")];
});
afterEach(() => {
  for (const model of models.splice(0)) for (const name of model.adapterNames) model.deleteAdapter(name);
});
afterAll(async () => {
  await llama.close();
  await gpt2.close();
  rmSync(folder, { recursive: true });
});

const attach = async (base: CausalLanguageModel, config: Partial<LoraConfig>): Promise<PeftModel> => {
  const model = await getPeftModel(base, { peftType: "LORA", r: 4, initLoraWeights: false, ...config });
  models.push(model);
  return model;
};
const logits = async (base: CausalLanguageModel): Promise<Float32Array> =>
  (await base.forward({ inputIds: [[5, 6, 7, 8]] })).logits.data;

/** What the config file of an adapter says, after it was loaded again and did the same. */
async function saved(base: CausalLanguageModel, name: string, config: Partial<LoraConfig>) {
  const model = await attach(base, config);
  const before = await logits(base);
  const at = join(folder, name);
  await model.savePretrained(at);
  model.deleteAdapter("default");
  const again = await PeftModel.fromPretrained(base, at);
  models.push(again);
  expect(again.warnings).toEqual([]);
  expectClose("logits", await logits(base), before, { absolute: 1e-6 });
  const file = JSON.parse(readFileSync(join(at, "adapter_config.json"), "utf8")) as Record<string, unknown>;
  const { target_modules, target_parameters, rank_pattern, fan_in_fan_out } = file;
  return { target_modules, target_parameters, rank_pattern, fan_in_fan_out };
}

test("the weight of a linear layer is adapted as the layer is", async () => {
  const targets = ["layers.0.self_attn.q_proj", "layers.2.mlp.down_proj"];
  const module = await attach(llama, { targetModules: targets });
  const expected = await logits(llama);
  module.deleteAdapter("default");
  const parameters = await attach(llama, { targetParameters: targets.map((name) => `${name}.weight`) });
  expectClose("logits", await logits(llama), expected, { absolute: 0 });
  expect(parameters.adapter().places.map(({ parameter }) => parameter)).toEqual(["weight", "weight"]);
});

test("is saved as it was written where Hugging Face reads that", async () => {
  expect(
    await saved(llama, "plain", { targetParameters: ["q_proj.weight"], rankPattern: { "q_proj.weight": 2 } }),
  ).toEqual({
    target_modules: [],
    target_parameters: ["q_proj.weight"],
    rank_pattern: { "q_proj.weight": 2 },
    fan_in_fan_out: false,
  });
});

test("is saved by full names where it is richer", async () => {
  expect(
    await saved(llama, "rich", {
      targetParameters: ["layers.{0-1}.**.q_proj.weight", "!layers.1.**"],
      targetModules: ["v_proj"],
      rankPattern: { "layers.0.self_attn.q_proj": 2 },
    }),
  ).toEqual({
    target_modules: ["v_proj"],
    target_parameters: ["model.layers.0.self_attn.q_proj.weight"],
    rank_pattern: { "model.layers.0.self_attn.q_proj.weight": 2 },
    fan_in_fan_out: false,
  });
});

test("a weight that is kept (in, out) is saved as it is kept", async () => {
  const { fan_in_fan_out: turned } = await saved(gpt2, "turned", {
    targetParameters: ["c_attn.weight", "wpe.weight"],
  });
  expect(turned).toBe(false);
});

test("refuses what Hugging Face PEFT cannot load", async () => {
  await expect(attach(gpt2, { targetParameters: ["c_attn.weight"], targetModules: ["c_fc"] })).rejects
    .toThrowErrorMatchingInlineSnapshot(`
    [UnsupportedError: targetParameters: transformer.h.0.attn.c_attn.weight cannot be adapted beside the module transformer.h.0.mlp.c_fc, whose weight is kept (in, out).
      reason  Hugging Face PEFT knows one or the other in an adapter
    fix: targetModules: []   (the parameters alone)
     or: leave targetParameters out   (the modules alone)]
  `);
  await expect(attach(llama, { targetParameters: ["embed_tokens.weight"], trainableTokenIndices: [3] }))
    .rejects.toThrowErrorMatchingInlineSnapshot(`
    [UnsupportedError: targetParameters: model.embed_tokens.weight cannot be adapted beside trainableTokenIndices.
      reason  Hugging Face PEFT trains no rows of an embedding whose weight is adapted by itself
    fix: targetModules: ["model.embed_tokens"]   (in place of the parameter)]
  `);
  await expect(attach(gpt2, { targetParameters: ["c_attn.weight"], initLoraWeights: "pissa" })).rejects
    .toThrowErrorMatchingInlineSnapshot(`
    [ConfigError: initLoraWeights: pissa is for layers, and targetParameters names transformer.h.0.attn.c_attn.weight.
      expected  true, false or gaussian for a table, or for a weight that is kept (in, out)
    fix: initLoraWeights: true
     or: targetModules: ["transformer.h.0.attn.c_attn"]   (in place of the parameter)]
  `);
});
