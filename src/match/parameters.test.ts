import { describe, expect, test } from "vitest";
import type { PeftConfig } from "../methods/index.js";
import { inspectMatches } from "../peft/inspect-matches.js";
import { matchError } from "../peft/match-error.js";
import type { ModuleFacts } from "./module-list.js";

type LoraConfig = Extract<PeftConfig, { readonly peftType: "LORA" }>;

const linear = (name: string): ModuleFacts => ({
  name,
  type: "Linear",
  shape: [8, 8],
  own: { weight: [8, 8], bias: [8] },
});
const modules: readonly ModuleFacts[] = [
  { name: "embed_tokens", type: "Embedding", shape: [32, 8] },
  ...["0", "1"].flatMap((layer) => [
    linear(`layers.${layer}.attn.q_proj`),
    linear(`layers.${layer}.mlp.up_proj`),
    { name: `layers.${layer}.norm`, type: "LayerNorm", shape: [8] },
  ]),
  linear("vision.layers.0.attn.q_proj"),
];
const inspect = (config: Partial<LoraConfig>) =>
  inspectMatches(modules, { peftType: "LORA", r: 2, ...config });
const taken = async (config: Partial<LoraConfig>) =>
  (await inspect(config)).targets.map(({ name, parameter }) => `${name} ${parameter ?? "(the module)"}`);
const fault = async (config: Partial<LoraConfig>) => matchError(await inspect(config)).message;

describe("entries name parameters by the grammar of modules", () => {
  test.each([
    [["q_proj.weight"], ["layers.0.attn.q_proj", "layers.1.attn.q_proj", "vision.layers.0.attn.q_proj"]],
    [["layers.0.attn.q_proj.weight"], ["layers.0.attn.q_proj"]],
    [[{ exact: "layers.1.mlp.up_proj.weight" }], ["layers.1.mlp.up_proj"]],
    [["layers.{0-1}.mlp.*.weight"], ["layers.0.mlp.up_proj", "layers.1.mlp.up_proj"]],
    [["up_proj.weight", "!layers.1.**"], ["layers.0.mlp.up_proj"]],
    [[{ within: "vision", match: ["q_proj.weight"] }], ["vision.layers.0.attn.q_proj"]],
    [[{ regex: "layers\\.1\\..*_proj\\.weight" }], ["layers.1.attn.q_proj", "layers.1.mlp.up_proj"]],
    [[{ kind: "embedding" }], ["embed_tokens"]],
  ] as const)("%j", async (targetParameters, names) => {
    expect(await taken({ targetParameters })).toEqual(names.map((name) => `${name} weight`));
  });

  test("modules are adapted beside them where they are named", async () => {
    expect(await taken({ targetParameters: ["embed_tokens.weight"], targetModules: ["up_proj"] })).toEqual([
      "embed_tokens weight",
      "layers.0.mlp.up_proj (the module)",
      "layers.1.mlp.up_proj (the module)",
    ]);
  });

  test("layers and exclusions hold for them too, and a warning says that Hugging Face ignores both", async () => {
    const config = { targetParameters: ["up_proj.weight"], layersToTransform: 1 };
    expect(await taken(config)).toEqual(["layers.1.mlp.up_proj weight"]);
    expect(await taken({ targetParameters: ["up_proj.weight"], excludeModules: ["layers.0.**"] })).toEqual([
      "layers.1.mlp.up_proj weight",
    ]);
    const { warnings } = await inspect(config);
    expect(warnings.map(({ text }) => text)).toMatchInlineSnapshot(`
      [
        "targetParameters: Hugging Face PEFT looks at the endings of paths alone and would also adapt layers.0.mlp.up_proj.weight.",
      ]
    `);
  });

  test("keys of patterns name the parameter or its module", async () => {
    const { targets } = await inspect({
      targetParameters: ["up_proj.weight"],
      rankPattern: { "layers.0.mlp.up_proj.weight": 4 },
      alphaPattern: { "layers.1.mlp.up_proj": 3 },
    });
    expect(targets.map(({ rank, alpha }) => [rank, alpha])).toEqual([
      [4, 8],
      [2, 3],
    ]);
  });

  test('matching: "hugging-face" looks at nothing but the ending of the path', async () => {
    const config = { matching: "hugging-face", targetModules: [], layersToTransform: 1 } as const;
    expect(await taken({ ...config, targetParameters: ["layers.0.attn.q_proj.weight"] })).toEqual([
      "layers.0.attn.q_proj weight",
      "vision.layers.0.attn.q_proj weight",
    ]);
  });
});

describe("faults", () => {
  test("an entry that names no parameter", async () => {
    expect(await fault({ targetParameters: ["q_porj.weight"] })).toMatchInlineSnapshot(`
      "targetParameters: "q_porj.weight" matches no parameter of the list of modules.
        nearest         "q_proj.weight" for "q_porj.weight"
        can be adapted  embed_tokens.weight (1)  q_proj.weight (3)  up_proj.weight (2)
      fix: targetParameters: ["q_proj.weight"]"
    `);
  });

  test("a module in place of its parameter", async () => {
    expect(await fault({ targetParameters: ["up_proj"] })).toMatchInlineSnapshot(`
      "targetParameters: "up_proj" matches no parameter of the list of modules.
        nearest         "up_proj.weight" for "up_proj"
        can be adapted  embed_tokens.weight (1)  q_proj.weight (3)  up_proj.weight (2)
      fix: targetParameters: ["up_proj.weight"]"
    `);
  });

  test("a parameter that is no matrix", async () => {
    expect(await fault({ targetParameters: ["up_proj.weight", "up_proj.bias"] })).toMatchInlineSnapshot(`
      "targetParameters: LORA cannot adapt layers.0.mlp.up_proj.bias, nor 1 more: they are no matrices of its layers.
        parameters      layers.0.mlp.up_proj.bias
                        layers.1.mlp.up_proj.bias
        can be adapted  embed_tokens.weight (1)  q_proj.weight (3)  up_proj.weight (2)
      fix: to train it with its module: modulesToSave: ["layers.0.mlp.up_proj"]"
    `);
  });

  test("a module that is adapted already", async () => {
    const config = { targetParameters: ["up_proj.weight"], targetModules: ["up_proj"] };
    expect(await fault(config)).toMatchInlineSnapshot(`
      "layers.0.mlp.up_proj is in targetModules and layers.0.mlp.up_proj.weight in targetParameters: it can be adapted once.
        modules  layers.0.mlp.up_proj
                 layers.1.mlp.up_proj
      fix: take it out of one of the two
       or: targetModules: []   (the parameters alone)"
    `);
    expect(await fault({ ...config, matching: "hugging-face" })).toContain("it can be adapted once");
  });

  test("a module that is saved as a whole", async () => {
    const config = {
      targetParameters: ["layers.0.mlp.up_proj.weight"],
      modulesToSave: ["layers.0.mlp.up_proj"],
    };
    expect(await fault(config)).toMatchInlineSnapshot(`
      "layers.0.mlp.up_proj is in targetParameters and in modulesToSave: it cannot be adapted and trained as a whole.
      fix: to train it as a whole: excludeModules: ["layers.0.mlp.up_proj"]
       or: to adapt: take it out of modulesToSave"
    `);
  });

  test("a name in unrelated places is a warning", async () => {
    const { warnings } = await inspect({ targetParameters: ["q_proj.weight"] });
    expect(warnings.map(({ text }) => text)).toMatchInlineSnapshot(`
      [
        "targetParameters: "q_proj.weight" matches 2 different kinds of place in the list of modules: layers.*.attn.q_proj.weight (2 modules), vision.layers.*.attn.q_proj.weight (1 module). To choose: targetParameters: [{ regex: "layers\\\\.\\\\d+\\\\.attn\\\\.q_proj\\\\.weight" }], or to mean both: [{ regex: "layers\\\\.\\\\d+\\\\.attn\\\\.q_proj\\\\.weight" }, "vision.layers.*.attn.q_proj.weight"]",
      ]
    `);
  });

  test("options that a parameter cannot have, all at once", async () => {
    const config = { targetParameters: ["up_proj.weight"], loraDropout: 0.1, useDora: true } as const;
    await expect(inspect({ ...config, initLoraWeights: "eva" })).rejects.toThrowErrorMatchingInlineSnapshot(`
      [ConfigError: LORA has 3 options that cannot be used.
        loraDropout      with targetParameters: 0.1: a parameter has no inputs to drop
        useDora          with targetParameters: true: the lengths belong to a layer
        initLoraWeights  with targetParameters: eva: this start is for layers
      fix: loraDropout: 0, useDora: false, initLoraWeights: true]
    `);
    await expect(inspect({ targetParameters: ["up_proj.weight"], loraBias: true })).rejects
      .toThrowErrorMatchingInlineSnapshot(`
      [ConfigError: LORA has an option that cannot be used.
        loraBias  with targetParameters: true: a parameter has no bias
      fix: loraBias: false]
    `);
  });
});
