import { describe, expect, test } from "vitest";
import type { PeftConfig } from "../methods/index.js";
import { inspectMatches } from "../peft/inspect-matches.js";
import { matchError } from "../peft/match-error.js";
import type { ModuleFacts } from "./module-list.js";

/** Two towers whose paths end alike, and heads whose names end alike. */
const modules: ModuleFacts[] = [
  ...["model", "img_model"].flatMap((tower) =>
    [0, 1].flatMap((layer) => [
      { name: `${tower}.layers.${layer}.xxxx`, type: "Linear", shape: [8, 8] },
      { name: `${tower}.layers.${layer}.out`, type: "Linear", shape: [8, 8] },
      { name: `${tower}.layers.${layer}.q_proj`, type: "Linear", shape: [8, 8] },
    ]),
  ),
  { name: "score", type: "Linear", shape: [2, 8] },
  { name: "my_score", type: "Linear", shape: [2, 8] },
  { name: "pre_classifier", type: "Linear", shape: [8, 8] },
  { name: "classifier", type: "Linear", shape: [2, 8] },
];

type LoraConfig = Extract<PeftConfig, { readonly peftType: "LORA" }>;

/** What is saved and adapted, and every text that comes with it. */
async function look(config: Partial<LoraConfig>): Promise<string> {
  const report = await inspectMatches(modules, {
    peftType: "LORA",
    targetModules: ["q_proj"],
    ambiguous: "allow",
    ...config,
  });
  const lines = [
    `targets  ${report.targets.map(({ name }) => name).join(" ")}`,
    `saved    ${report.modulesToSave.map(({ name, why }) => `${name} (${why})`).join(" ")}`,
    ...report.warnings.map(({ text }) => `warning: ${text}`),
    ...(report.faults.length > 0 ? [matchError(report).message] : []),
  ];
  return lines.join("\n");
}

describe("model.layers.0.xxxx is not img_model.layers.0.xxxx", () => {
  test("as a path", async () => {
    expect(await look({ modulesToSave: ["model.layers.0.xxxx"] })).toMatchInlineSnapshot(`
      "targets  model.layers.0.q_proj model.layers.1.q_proj img_model.layers.0.q_proj img_model.layers.1.q_proj
      saved    model.layers.0.xxxx (modulesToSave "model.layers.0.xxxx")
      warning: modulesToSave: Hugging Face PEFT compares the last characters alone and would also train img_model.layers.0.xxxx; here whole names are compared."
    `);
  });
  test("by exact", async () => {
    expect(await look({ modulesToSave: [{ exact: "model.layers.0.xxxx" }] })).toMatchInlineSnapshot(`
      "targets  model.layers.0.q_proj model.layers.1.q_proj img_model.layers.0.q_proj img_model.layers.1.q_proj
      saved    model.layers.0.xxxx (modulesToSave { exact: "model.layers.0.xxxx" })
      warning: modulesToSave: Hugging Face PEFT compares the last characters alone and would also train img_model.layers.0.xxxx; here whole names are compared."
    `);
  });
  test("by a regular expression", async () => {
    expect(await look({ modulesToSave: [{ regex: "model\\.layers\\.0\\.xxxx" }] })).toMatchInlineSnapshot(`
      "targets  model.layers.0.q_proj model.layers.1.q_proj img_model.layers.0.q_proj img_model.layers.1.q_proj
      saved    model.layers.0.xxxx (modulesToSave { regex: "model\\\\.layers\\\\.0\\\\.xxxx" })"
    `);
  });
  test("by hierarchy", async () => {
    expect(await look({ modulesToSave: ["model.layers.{0-1}.xxxx", "img_model.**.out"] }))
      .toMatchInlineSnapshot(`
      "targets  model.layers.0.q_proj model.layers.1.q_proj img_model.layers.0.q_proj img_model.layers.1.q_proj
      saved    model.layers.0.xxxx (modulesToSave "model.layers.{0-1}.xxxx") model.layers.1.xxxx (modulesToSave "model.layers.{0-1}.xxxx") img_model.layers.0.out (modulesToSave "img_model.**.out") img_model.layers.1.out (modulesToSave "img_model.**.out")"
    `);
  });
  test("by a scope", async () => {
    expect(await look({ modulesToSave: [{ within: "img_model", match: ["xxxx", "!layers.0.xxxx"] }] }))
      .toMatchInlineSnapshot(`
      "targets  model.layers.0.q_proj model.layers.1.q_proj img_model.layers.0.q_proj img_model.layers.1.q_proj
      saved    img_model.layers.1.xxxx (modulesToSave { within: "img_model", match: ["xxxx", "!layers.0.xxxx"] })"
    `);
  });
  test("by its last name alone it is ambiguous, and the text says which spellings choose", async () => {
    expect(await look({ modulesToSave: ["xxxx"], ambiguous: undefined })).toMatchInlineSnapshot(`
      "targets  model.layers.0.q_proj model.layers.1.q_proj img_model.layers.0.q_proj img_model.layers.1.q_proj
      saved    model.layers.0.xxxx (modulesToSave "xxxx") model.layers.1.xxxx (modulesToSave "xxxx") img_model.layers.0.xxxx (modulesToSave "xxxx") img_model.layers.1.xxxx (modulesToSave "xxxx")
      warning: targetModules: "q_proj" matches 2 different kinds of place in the list of modules: model.layers.*.q_proj (2 modules), img_model.layers.*.q_proj (2 modules). To choose: targetModules: ["model.layers.*.q_proj"], or to mean both: ["model.layers.*.q_proj", "img_model.layers.*.q_proj"]
      modulesToSave: "xxxx" matches 2 different kinds of place in the list of modules.
        model.layers.*.xxxx      2 modules  Linear (8, 8)
        img_model.layers.*.xxxx  2 modules  Linear (8, 8)
      fix: modulesToSave: ["model.layers.*.xxxx"], or to mean both: ["model.layers.*.xxxx", "img_model.layers.*.xxxx"]
       or: to mean all of them as it is: ambiguous: "allow""
    `);
  });
});

test("score is not my_score", async () => {
  expect(await look({ modulesToSave: ["score"] })).toMatchInlineSnapshot(`
    "targets  model.layers.0.q_proj model.layers.1.q_proj img_model.layers.0.q_proj img_model.layers.1.q_proj
    saved    score (modulesToSave "score")
    warning: modulesToSave: Hugging Face PEFT compares the last characters alone and would also train my_score; here whole names are compared."
  `);
});

test("classifier is not pre_classifier", async () => {
  expect(await look({ modulesToSave: ["classifier"] })).toMatchInlineSnapshot(`
    "targets  model.layers.0.q_proj model.layers.1.q_proj img_model.layers.0.q_proj img_model.layers.1.q_proj
    saved    classifier (modulesToSave "classifier")
    warning: modulesToSave: Hugging Face PEFT compares the last characters alone and would also train pre_classifier; here whole names are compared."
  `);
});

test("out means modules of the model, never what an adapter has inside", async () => {
  expect(await look({ modulesToSave: ["out"], targetModules: ["xxxx"] })).toMatchInlineSnapshot(`
    "targets  model.layers.0.xxxx model.layers.1.xxxx img_model.layers.0.xxxx img_model.layers.1.xxxx
    saved    model.layers.0.out (modulesToSave "out") model.layers.1.out (modulesToSave "out") img_model.layers.0.out (modulesToSave "out") img_model.layers.1.out (modulesToSave "out")"
  `);
});

test("an entry that matches nothing, all of them at once, with near names", async () => {
  expect(await look({ modulesToSave: ["scor", "nothing"], rankPattern: { q_porj: 4 } }))
    .toMatchInlineSnapshot(`
    "targets  model.layers.0.q_proj model.layers.1.q_proj img_model.layers.0.q_proj img_model.layers.1.q_proj
    saved    
    2 things in the choice of modules cannot be done with the list of modules.
      1  modulesToSave: "scor" and "nothing" match no module of the list of modules.
           nearest    "score" for "scor"
           there are  xxxx (4)  out (4)  q_proj (4)  score (1)  my_score (1)  pre_classifier (1)  classifier (1)
           fix: see all paths: peft match the list of modules
      2  rankPattern: "q_porj" matches no module of the list of modules.
           nearest    "q_proj" for "q_porj"
           there are  xxxx (4)  out (4)  q_proj (4)  score (1)  my_score (1)  pre_classifier (1)  classifier (1)
           fix: see all paths: peft match the list of modules"
  `);
  expect(await look({ modulesToSave: [{ match: "nothing", optional: true }] })).toMatchInlineSnapshot(`
    "targets  model.layers.0.q_proj model.layers.1.q_proj img_model.layers.0.q_proj img_model.layers.1.q_proj
    saved    "
  `);
});

test("a name in unrelated places: a warning for targets, an error for keys", async () => {
  expect(await look({ targetModules: ["q_proj"], ambiguous: undefined })).toMatchInlineSnapshot(`
    "targets  model.layers.0.q_proj model.layers.1.q_proj img_model.layers.0.q_proj img_model.layers.1.q_proj
    saved    
    warning: targetModules: "q_proj" matches 2 different kinds of place in the list of modules: model.layers.*.q_proj (2 modules), img_model.layers.*.q_proj (2 modules). To choose: targetModules: ["model.layers.*.q_proj"], or to mean both: ["model.layers.*.q_proj", "img_model.layers.*.q_proj"]"
  `);
  expect(await look({ targetModules: ["q_proj"], rankPattern: { q_proj: 4 }, ambiguous: "error" }))
    .toMatchInlineSnapshot(`
    "targets  model.layers.0.q_proj model.layers.1.q_proj img_model.layers.0.q_proj img_model.layers.1.q_proj
    saved    
    2 things in the choice of modules cannot be done with the list of modules.
      1  targetModules: "q_proj" matches 2 different kinds of place in the list of modules.
           model.layers.*.q_proj      2 modules  Linear (8, 8)
           img_model.layers.*.q_proj  2 modules  Linear (8, 8)
           fix: targetModules: ["model.layers.*.q_proj"], or to mean both: ["model.layers.*.q_proj", "img_model.layers.*.q_proj"]
      2  rankPattern: "q_proj" matches 2 different kinds of place in the list of modules.
           model.layers.*.q_proj      2 modules  Linear (8, 8)
           img_model.layers.*.q_proj  2 modules  Linear (8, 8)
           fix: rankPattern: { "model.layers.*.q_proj": … }"
  `);
});

test("things asked for twice", async () => {
  const config = {
    targetModules: ["q_proj", "score"],
    modulesToSave: ["score"],
    rankPattern: { "model.layers.0.q_proj": 2, "layers.0.q_proj": 4 },
  };
  expect(await look(config)).toMatchInlineSnapshot(`
    "targets  model.layers.0.q_proj model.layers.1.q_proj img_model.layers.0.q_proj img_model.layers.1.q_proj
    saved    score (modulesToSave "score")
    warning: modulesToSave: Hugging Face PEFT compares the last characters alone and would also train my_score; here whole names are compared.
    2 things in the choice of modules cannot be done with the list of modules.
      1  score is in targetModules and in modulesToSave: it cannot be adapted and trained as a whole.
           fix: to train it as a whole: excludeModules: ["score"]
      2  rankPattern: "layers.0.q_proj" and "model.layers.0.q_proj" both name model.layers.0.q_proj.
           fix: write keys that share no module, such as longer suffixes"
  `);
});

test("layers apply to every kind of entry", async () => {
  const layers = {
    layersToTransform: [1],
    targetModules: ["model.layers.0.q_proj", "model.layers.1.q_proj", "xxxx"],
  };
  expect(await look(layers)).toMatchInlineSnapshot(`
    "targets  model.layers.1.xxxx model.layers.1.q_proj img_model.layers.1.xxxx
    saved    
    warning: targetModules: "model.layers.0.q_proj" has no effect: model.layers.0.q_proj (layer 0 is not selected).
    warning: targetModules: Hugging Face PEFT does not look at layersToTransform where an entry is the whole path and would also adapt model.layers.0.q_proj."
  `);
  expect(await look({ layersToTransform: [7] })).toMatchInlineSnapshot(`
    "targets  
    saved    
    warning: targetModules: "q_proj" has no effect: model.layers.0.q_proj, model.layers.1.q_proj, img_model.layers.0.q_proj, img_model.layers.1.q_proj (layer 0 is not selected, layer 1 is not selected).
    layersToTransform: the list of modules has no layer 7.
      layers  0-1
    fix: choose layers that are there"
  `);
});

test("entries that cannot be read", async () => {
  const message = (entry: string) => look({ targetModules: [entry] }).catch((error: Error) => error.message);
  expect(await message("model\\.layers")).toMatchInlineSnapshot(`
    "targetModules: "model\\\\.layers" cannot be read.
      reason  an entry of a list is a name; this looks like a regular expression
    fix: targetModules: [{ "regex": "model\\\\.layers" }]"
  `);
  expect(await message("layers.{3-1}.q_proj")).toMatchInlineSnapshot(`
    "targetModules: "layers.{3-1}.q_proj" cannot be read.
      reason  3-1 is no range of layers
    fix: write names between dots, such as "self_attn.q_proj", or { "regex": "..." }"
  `);
  expect(await message(".q_proj")).toMatchInlineSnapshot(`
    "targetModules: ".q_proj" cannot be read.
      reason  two dots stand together, or one at an end
    fix: write names between dots, such as "self_attn.q_proj", or { "regex": "..." }"
  `);
});

test('the rules of Hugging Face on request: matching: "hugging-face"', async () => {
  expect(await look({ modulesToSave: ["score", "xxxx"], matching: "hugging-face" })).toMatchInlineSnapshot(`
    "targets  model.layers.0.q_proj model.layers.1.q_proj img_model.layers.0.q_proj img_model.layers.1.q_proj
    saved    model.layers.0.xxxx (modulesToSave "xxxx") model.layers.1.xxxx (modulesToSave "xxxx") img_model.layers.0.xxxx (modulesToSave "xxxx") img_model.layers.1.xxxx (modulesToSave "xxxx") score (modulesToSave "score") my_score (modulesToSave "score")"
  `);
});
