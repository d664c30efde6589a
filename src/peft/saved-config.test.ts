import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { fixturesFolder } from "../../test/support/fixture.js";
import { AutoModelForCausalLM } from "../auto/auto-model.js";
import type { CausalLanguageModel } from "../auto/causal-language-model.js";
import { readOptions } from "../base/read-options.js";
import { methods, type PeftConfig } from "../methods/index.js";
import { inspectMatches } from "./inspect-matches.js";
import { getPeftModel } from "./get-peft-model.js";
import { PeftModel } from "./peft-model.js";
import { expectedCopies } from "./saved-config.js";

type LoraConfig = Extract<PeftConfig, { readonly peftType: "LORA" }>;

const folder = mkdtempSync(join(tmpdir(), "saved-config-"));
const path = join(fixturesFolder, "llama/model");
let base: CausalLanguageModel;
const models: PeftModel[] = [];
beforeAll(async () => {
  base = await AutoModelForCausalLM.fromPretrained(path);
});
afterEach(() => {
  for (const model of models.splice(0)) for (const name of model.adapterNames) model.deleteAdapter(name);
});
afterAll(async () => {
  await base.close();
  rmSync(folder, { recursive: true });
});
const keep = <T extends PeftModel>(model: T): T => {
  models.push(model);
  return model;
};
const names = (model: PeftModel): string[] => model.adapter().report.targets.map(({ name }) => name);

/** The config file of a fresh adapter, and the adapter that is read from it. */
async function saveAndLoad(name: string, config: Partial<LoraConfig>) {
  const model = keep(await getPeftModel(base, { peftType: "LORA", r: 4, ...config }));
  const before = model.adapter().places.map((place) => [place.path, ...tensorShapes(model, place.path)]);
  const at = join(folder, name);
  await model.savePretrained(at);
  const file = JSON.parse(readFileSync(join(at, "adapter_config.json"), "utf8")) as Record<string, unknown>;
  model.deleteAdapter("default");
  const again = keep(await PeftModel.fromPretrained(base, at));
  expect(again.warnings).toEqual([]);
  expect(again.adapter().places.map((place) => [place.path, ...tensorShapes(again, place.path)])).toEqual(
    before,
  );
  return file;
}

const tensorShapes = (model: PeftModel, at: string): string[] =>
  [...model.adapter().tensors]
    .filter(([key]) => key.includes(`.${at}.`))
    .map(([, { shape }]) => shape.join("x"));

describe("what files hold", () => {
  test("what Hugging Face can say, as it was written", async () => {
    const file = await saveAndLoad("plain", {
      targetModules: ["q_proj", "v_proj"],
      excludeModules: ["layers.1.self_attn.q_proj"],
      rankPattern: { "layers.0.self_attn.q_proj": 2 },
    });
    expect(file).toMatchObject({
      target_modules: ["q_proj", "v_proj"],
      exclude_modules: ["layers.1.self_attn.q_proj"],
      rank_pattern: { "layers.0.self_attn.q_proj": 2 },
      layers_to_transform: null,
    });
    expect(Object.keys(file)).not.toContain("ambiguous");
    expect(Object.keys(file)).not.toContain("matching");
  });
  test("anything richer, as full names", async () => {
    const file = await saveAndLoad("rich", {
      targetModules: [{ kind: "linear" }, "!mlp.*", "!layers.{0-1}.**"],
      rankPattern: { "layers.{0-2}.self_attn.v_proj": 1 },
      modulesToSave: [{ within: "model", match: ["norm"] }],
    });
    expect(file).toMatchObject({
      target_modules: ["q_proj", "k_proj", "v_proj", "o_proj"].map(
        (name) => `model.layers.2.self_attn.${name}`,
      ),
      rank_pattern: { "model.layers.2.self_attn.v_proj": 1 },
      modules_to_save: ["model.norm"],
    });
  });
  test("layers that Hugging Face would not look at, as full names", async () => {
    const file = await saveAndLoad("layers", { targetModules: "all-linear", layersToTransform: [1] });
    expect(file).toMatchObject({ layers_to_transform: null });
    expect(file["target_modules"]).toHaveLength(7);
  });
});

test("Hugging Face's file is expected to hold more where names end alike", async () => {
  const modules = ["score", "my_score", "body"].map((name) => ({ name, type: "Linear", shape: [4, 4] }));
  const report = await inspectMatches(modules, {
    peftType: "LORA",
    targetModules: ["body"],
    modulesToSave: ["score"],
  });
  expect(expectedCopies(report).map(({ name }) => name)).toEqual(["my_score"]);
});

test("a config that says more than the tensors is told, and the tensors are followed", async () => {
  const at = join(folder, "differs");
  cpSync(join(fixturesFolder, "llama/adapter"), at, { recursive: true });
  const file = join(at, "adapter_config.json");
  const config = JSON.parse(readFileSync(file, "utf8")) as Record<string, unknown>;
  writeFileSync(file, JSON.stringify({ ...config, target_modules: ["q_proj", "o_proj", "nothing"] }));
  const model = keep(await PeftModel.fromPretrained(base, at));
  expect(names(model).filter((name) => name.includes("layers.0"))).toEqual([
    "model.layers.0.self_attn.q_proj",
    "model.layers.0.self_attn.v_proj",
  ]);
  expect(model.warnings.map(({ text }) => text.replaceAll(folder, "DIR"))).toMatchInlineSnapshot(`
    [
      "DIR/differs/adapter_model.safetensors: config and tensors disagree about what is adapted: the config alone names model.layers.0.self_attn.o_proj, model.layers.1.self_attn.o_proj, model.layers.2.self_attn.o_proj; tensors alone are there for model.layers.0.self_attn.v_proj, model.layers.1.self_attn.v_proj, model.layers.2.self_attn.v_proj. The tensors are followed.",
    ]
  `);
});

test("headers alone give the report that attaching follows", async () => {
  const config = {
    peftType: "LORA",
    r: 4,
    targetModules: ["q_proj"],
    modulesToSave: ["model.norm"],
  } as const;
  const model = keep(await getPeftModel(base, config));
  const report = await inspectMatches(path, config);
  expect(report.targets).toEqual(model.adapter().report.targets);
  expect(report.modulesToSave).toEqual(model.adapter().report.modulesToSave);
  const trained = [...report.targets, ...report.modulesToSave].reduce(
    (sum, { trained: own }) => sum + own,
    0,
  );
  expect(trained).toBe(model.parameterCount().trainable);
});

test("the command line's spellings", () => {
  const { targetModules, layersToTransform } = methods.LORA.config;
  const read = (text: string): unknown =>
    readOptions({ targetModules }, { targetModules: targetModules.fromText(text) }, { source: "" })
      .targetModules;
  expect(read("q_proj")).toEqual(["q_proj"]);
  expect(read("q_proj, layers.{0-3,8}.mlp")).toEqual(["q_proj", "layers.{0-3,8}.mlp"]);
  expect(read("all-linear")).toBe("all-linear");
  expect(read(".*\\.(q|v)_proj")).toBe(".*\\.(q|v)_proj");
  expect(read('[{"kind":"norm"},"!a"]')).toEqual([{ kind: "norm" }, "!a"]);
  expect(layersToTransform.fromText("0-2,5")).toEqual([0, 1, 2, 5]);
});
