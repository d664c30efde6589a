import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { expectClose } from "../../test/support/close.js";
import { fixturesFolder } from "../../test/support/fixture.js";
import { AutoModelForCausalLM } from "../auto/auto-model.js";
import type { CausalLanguageModel } from "../auto/causal-language-model.js";
import { openSafetensors } from "../files/safetensors.js";
import type { PeftConfig } from "../methods/index.js";
import { AdamW } from "../train/adamw.js";
import { fingerprint } from "../train/verify.js";
import { getPeftModel } from "./get-peft-model.js";
import { PeftModel } from "./peft-model.js";

type LoraConfig = Extract<PeftConfig, { readonly peftType: "LORA" }>;

const folder = mkdtempSync(join(tmpdir(), "modules-to-save-"));
const path = join(fixturesFolder, "llama/model");
let base: CausalLanguageModel;
let model: PeftModel<CausalLanguageModel>;
beforeAll(async () => {
  base = await AutoModelForCausalLM.fromPretrained(path);
});
afterEach(() => {
  for (const name of model.adapterNames) model.deleteAdapter(name);
});
afterAll(async () => {
  await base.close();
  rmSync(folder, { recursive: true });
});
const batch = { inputIds: [[5, 6, 7, 8, 9]], labels: [[5, 6, 7, 8, 9]] };
const logits = async (of = base): Promise<Float32Array> => (await of.forward(batch)).logits.data;
const attach = async (config: Partial<LoraConfig>, on = base): Promise<PeftModel<CausalLanguageModel>> => {
  model = await getPeftModel(on, { peftType: "LORA", targetModules: ["q_proj"], r: 2, ...config });
  return model;
};
const embeddingOf = (of: CausalLanguageModel): Float32Array =>
  [...of.namedParameters()].find(({ name }) => name === "model.embed_tokens.weight")!.data;
const step = async (of: PeftModel): Promise<void> => {
  const optimizer = new AdamW(of.trainableParameters(), { learningRate: 1e-2 });
  await of.backward(batch);
  await optimizer.step();
  optimizer.zeroGrad();
};
const keysOf = async (name: string): Promise<string[]> => {
  const file = await openSafetensors(join(folder, name, "adapter_model.safetensors"));
  const keys = [...file.tensors.keys()].filter((key) => !key.includes("lora_"));
  file.close();
  return keys.sort();
};

test("a container is copied with everything in it, under Hugging Face's names", async () => {
  const before = await logits();
  await attach({ modulesToSave: ["layers.1.mlp", "model.norm"] });
  expect(await logits()).toEqual(before);
  const names = [...model.namedParameters()].map(({ name }) => name);
  expect(names.filter((name) => name.includes("modules_to_save"))).toEqual([
    "base_model.model.model.layers.1.mlp.modules_to_save.default.gate_proj.weight",
    "base_model.model.model.layers.1.mlp.modules_to_save.default.up_proj.weight",
    "base_model.model.model.layers.1.mlp.modules_to_save.default.down_proj.weight",
    "base_model.model.model.norm.modules_to_save.default.weight",
  ]);
  expect(names).toContain("base_model.model.model.layers.1.mlp.original_module.up_proj.weight");
  expect(names).toContain("base_model.model.model.norm.original_module.weight");
  expect(names).toContain("base_model.model.model.layers.1.self_attn.q_proj.base_layer.weight");
  await model.savePretrained(join(folder, "container"));
  expect(await keysOf("container")).toEqual([
    "base_model.model.model.layers.1.mlp.down_proj.weight",
    "base_model.model.model.layers.1.mlp.gate_proj.weight",
    "base_model.model.model.layers.1.mlp.up_proj.weight",
    "base_model.model.model.norm.weight",
  ]);
  const config = JSON.parse(readFileSync(join(folder, "container/adapter_config.json"), "utf8")) as object;
  expect(config).toMatchObject({ modules_to_save: ["model.layers.1.mlp", "model.norm"] });
});

test("copies are trained, switched with their adapter, restored when it is off, saved and loaded", async () => {
  const prints = [...base.namedParameters()].map(({ tensor }) => fingerprint(tensor));
  const plain = await logits();
  await attach({ modulesToSave: ["norm", "embed_tokens"] });
  await step(model);
  const first = await logits();
  expect(first).not.toEqual(plain);
  for (const { name, grad } of model.trainableParameters()) expect(grad, name).toBeUndefined();
  model.addAdapter(
    { peftType: "LORA", r: 2, targetModules: ["v_proj"], modulesToSave: ["model.layers.0.input_layernorm"] },
    { adapterName: "second" },
  );
  expect(await logits()).toEqual(plain);
  await step(model);
  expect(await logits()).not.toEqual(plain);
  model.setAdapter("default");
  expect(await logits()).toEqual(first);
  expect(await model.withoutAdapter(logits)).toEqual(plain);
  model.disableAdapters();
  expect(await logits()).toEqual(plain);
  expect([...base.namedParameters()].map(({ tensor }) => fingerprint(tensor))).toEqual(prints);
  await model.savePretrained(join(folder, "switched"));
  const again = await PeftModel.fromPretrained(base, join(folder, "switched"), { adapterName: "again" });
  expect(await logits()).toEqual(first);
  again.deleteAdapter("again");
  expect(await logits()).toEqual(plain);
});

test("the head is left out of the adapted modules where it is saved as a whole", async () => {
  await attach({ targetModules: "all-linear", modulesToSave: ["layers.0.mlp"] });
  const adapted = model.adapter().attachments.filter(({ attachment }) => attachment.forward !== undefined);
  expect(adapted.some(({ path: at }) => at.startsWith("model.layers.0.mlp"))).toBe(false);
  expect(adapted.some(({ path: at }) => at.startsWith("model.layers.1.mlp"))).toBe(true);
});

test("a head that is tied is trained apart from the embedding, and merging keeps two weights", async () => {
  const own = await AutoModelForCausalLM.fromPretrained(path);
  await attach({ modulesToSave: ["lm_head"] }, own);
  expect(model.warnings.map(({ text }) => text)).toMatchInlineSnapshot(`
    [
      "lm_head shares its weight with model.embed_tokens. Its copy is trained alone: model.embed_tokens stays as it is, and a merged model keeps two weights. To train them as one: ensureWeightTying: true.",
    ]
  `);
  const embedding = embeddingOf(own).slice();
  await step(model);
  const trained = await logits(own);
  const merged = await model.mergeAndUnload();
  expect(embeddingOf(own)).toEqual(embedding);
  expectClose("merged", await logits(merged), trained);
  await merged.savePretrained(join(folder, "apart"));
  const again = await AutoModelForCausalLM.fromPretrained(join(folder, "apart"));
  expectClose("saved", await logits(again), trained);
  expect(again.config.values["tie_word_embeddings"]).toBe(false);
  await again.close();
  await own.close();
});

test("with ensureWeightTying head and embedding are one, also after merging", async () => {
  const own = await AutoModelForCausalLM.fromPretrained(path);
  await attach({ modulesToSave: ["lm_head"], ensureWeightTying: true }, own);
  expect(model.warnings).toEqual([]);
  await step(model);
  const trained = await logits(own);
  await model.savePretrained(join(folder, "tied"));
  expect(await keysOf("tied")).toEqual([
    "base_model.model.lm_head.weight",
    "base_model.model.model.embed_tokens.weight",
  ]);
  const merged = await model.mergeAndUnload();
  expectClose("merged", await logits(merged), trained);
  await merged.savePretrained(join(folder, "one"));
  const again = await AutoModelForCausalLM.fromPretrained(join(folder, "one"));
  expectClose("saved", await logits(again), trained);
  expect(again.config.values["tie_word_embeddings"]).toBe(true);
  await again.close();
  await own.close();
});

test("weights that are kept turned are copied as they are kept", async () => {
  const own = await AutoModelForCausalLM.fromPretrained(join(fixturesFolder, "gpt2/model"));
  const before = await logits(own);
  await attach({ targetModules: ["attn.c_attn"], modulesToSave: ["h.0.mlp"] }, own);
  expectClose("copies", await logits(own), before, { absolute: 1e-6 });
  const shapes = model.trainableParameters().map(({ name, shape }) => [name, shape] as const);
  const weight = [...own.namedParameters()].find(({ name }) => name === "transformer.h.0.mlp.c_fc.weight")!;
  expect(
    new Map(shapes).get("base_model.model.transformer.h.0.mlp.modules_to_save.default.c_fc.weight"),
  ).toEqual(weight.shape);
  await step(model);
  const trained = await logits(own);
  expect(trained).not.toEqual(before);
  expectClose("merged", await logits(await model.mergeAndUnload()), trained);
  await own.close();
});

test("the configuration of the user is not changed", async () => {
  const config = { peftType: "LORA", r: 2, targetModules: ["q_proj"], modulesToSave: ["lm_head"] } as const;
  const before = JSON.stringify(config);
  model = await getPeftModel(base, config);
  model.addAdapter(config, { adapterName: "second" });
  expect(JSON.stringify(config)).toBe(before);
});

test("mistakes", async () => {
  const message = async (config: Partial<LoraConfig>): Promise<string> =>
    attach(config).then(
      () => "it worked",
      (error: unknown) => (error as Error).message.replaceAll(fixturesFolder, "FIXTURES"),
    );
  expect(await message({ modulesToSave: ["lm_haed"] })).toMatchInlineSnapshot(`
    "modulesToSave: "lm_haed" matches no module of FIXTURES/llama/model.
      nearest    "lm_head" for "lm_haed"
      there are  model (1)  embed_tokens (1)  self_attn (3)  q_proj (3)  k_proj (3)  v_proj (3)  o_proj (3)  mlp (3)  gate_proj (3)  up_proj (3)  down_proj (3)  input_layernorm (3)  post_attention_layernorm (3)  norm (1)  lm_head (1)
    fix: modulesToSave: ["lm_head"]"
  `);
  expect(await message({ modulesToSave: ["mlp", "layers.0.mlp.up_proj"] })).toMatchInlineSnapshot(`
    "modulesToSave: model.layers.0.mlp.up_proj is part of model.layers.0.mlp, which is saved as a whole.
    fix: leave it out, or name it alone: modulesToSave: ["model.layers.0.mlp.up_proj"]"
  `);
  expect(await message({ targetModules: ["lm_head"], ensureWeightTying: true })).toMatchInlineSnapshot(`
    "ensureWeightTying: lm_head shares its weight with model.embed_tokens and is adapted, not saved as a whole.
    fix: modulesToSave: ["lm_head"]   (both are trained as one)
     or: ensureWeightTying: false   (the adapter moves this module alone)"
  `);
  expect([...base.modules()].every(({ attachments }) => attachments.length === 0)).toBe(true);
});
