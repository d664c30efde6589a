import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { fixturesFolder } from "../../test/support/fixture.js";
import { toCamelCase } from "../base/spelling.js";
import type { PeftConfig } from "../methods/index.js";
import { inspectMatches } from "../peft/inspect-matches.js";
import type { ModuleFacts } from "./module-list.js";

interface Case {
  readonly config: Readonly<Record<string, unknown>>;
  /** Outputs that Hugging Face leaves out of all-linear. */
  readonly heads: readonly string[];
  readonly expected: {
    readonly targets?: readonly string[];
    readonly saved?: readonly string[];
    readonly error?: string;
  };
}

const fixture = JSON.parse(readFileSync(join(fixturesFolder, "matching.json"), "utf8")) as {
  readonly models: Readonly<
    Record<string, { readonly modules: readonly ModuleFacts[]; readonly cases: readonly Case[] }>
  >;
};

const HEADS = ["classifier", "score", "pre_classifier"];

/** What is selected here, in the words of the fixture. */
async function ours(
  modules: readonly ModuleFacts[],
  { config, heads }: Case,
  matching: "whole-names" | "hugging-face",
) {
  const { task_type: task, ...options } = config;
  const listed = modules.map((module) => ({ ...module, head: heads.includes(module.name) }));
  const names = new Set(modules.map(({ name }) => name));
  const asked = (options["modules_to_save"] ?? []) as string[];
  // Hugging Face adds the heads of the task to the list; a list of modules has no task.
  const modulesToSave = [...asked, ...(task === "SEQ_CLS" ? HEADS.filter((name) => names.has(name)) : [])];
  const camel = Object.fromEntries(Object.entries(options).map(([key, value]) => [toCamelCase(key), value]));
  const settings = { ...camel, modulesToSave, matching, peftType: "LORA", r: 2 } as unknown as PeftConfig;
  const report = await inspectMatches(listed, settings);
  return {
    targets: report.targets.map(({ name }) => name).sort(),
    saved: report.modulesToSave.map(({ name }) => name).sort(),
    codes: [...report.faults, ...report.warnings].map(({ code }) => code),
    faults: report.faults.map(({ code }) => code),
  };
}

const cases = Object.entries(fixture.models).flatMap(([model, { modules, cases: list }]) =>
  list.map((one) => [`${model} ${JSON.stringify(one.config)}`, modules, one] as const),
);

describe('matching: "hugging-face" takes what Hugging Face PEFT takes', () => {
  test.each(cases)("%s", async (_, modules, one) => {
    const { targets, saved, faults } = await ours(modules, one, "hugging-face");
    if (one.expected.error === "NoMatchingPeftModuleError") expect(targets).toEqual([]);
    if (one.expected.error !== undefined) return;
    expect(faults).toEqual([]);
    expect({ targets, saved }).toEqual({ targets: one.expected.targets, saved: one.expected.saved });
  });
});

/** Deliberate differences, as docs/matching.md lists them, by the code that tells the user. */
const DIFFERENCES: Readonly<Record<string, string>> = {
  'llama {"target_modules":"q_proj"}': "target_not_found",
  'llama {"target_modules":["q_porj"]}': "target_not_found",
  'llama {"target_modules":["q_proj","q_porj"]}': "target_not_found",
  'llama {"target_modules":"all-linear","layers_to_transform":[1]}': "hugging_face_targets_more",
  'llama {"target_modules":["lm_head","q_proj"],"layers_to_transform":[1]}':
    "entry_without_effect hugging_face_targets_more",
  'llama {"target_modules":["model.layers.0.mlp.up_proj","q_proj"],"layers_to_transform":[2]}':
    "entry_without_effect hugging_face_targets_more",
  'llama {"target_modules":[],"target_parameters":["q_proj.weight"],"layers_to_transform":[1]}':
    "hugging_face_targets_more",
  'llama {"target_modules":[],"target_parameters":["q_proj.weight"],"exclude_modules":["layers.0.self_attn.q_proj"]}':
    "hugging_face_targets_more",
  'llama {"target_modules":["q_proj"],"target_parameters":["q_proj.weight"]}': "targets_overlap",
  'llama {"target_modules":[],"target_parameters":["q_porj.weight"]}': "target_not_found",
  'llama {"target_modules":[],"target_parameters":["q_porj.weight","q_proj.weight"]}': "target_not_found",
  'llama {"target_modules":[],"target_parameters":["norm.weight"]}': "target_unsupported",
  'towers {"target_modules":[],"target_parameters":["model.layers.0.mlp.xxxx.weight"]}':
    "hugging_face_targets_more",
  'towers {"target_modules":["model.layers.0.mlp.xxxx"]}': "hugging_face_targets_more",
  'towers {"target_modules":["q_proj"]}': "hugging_face_targets_more",
  'rooted {"target_modules":["q","head"],"layers_to_transform":[0],"layers_pattern":"blocks"}':
    "entry_without_effect hugging_face_targets_more",
  'llama {"target_modules":["q_proj"],"modules_to_save":["norm"]}': "hugging_face_saves_more",
  'distilbert {"target_modules":["q_lin"],"modules_to_save":["classifier"]}': "hugging_face_saves_more",
  'bert {"target_modules":["query"],"modules_to_save":["LayerNorm"]}': "target_ambiguous",
  'towers {"target_modules":["fc"],"modules_to_save":["out"]}': "target_ambiguous",
  'rooted {"target_modules":["q"],"layers_to_transform":[0]}': "target_ambiguous",
  'distilbert {"target_modules":"all-linear","task_type":"SEQ_CLS"}': "",
  'towers {"target_modules":["fc"],"modules_to_save":["model.layers.0.mlp.xxxx"]}':
    "hugging_face_saves_more target_ambiguous",
  'towers {"target_modules":["fc"],"modules_to_save":["score"]}': "hugging_face_saves_more target_ambiguous",
  'towers {"target_modules":["fc"],"modules_to_save":["classifier"]}':
    "hugging_face_saves_more target_ambiguous",
  'towers {"target_modules":["q_proj","out"],"modules_to_save":["out"]}':
    "hugging_face_targets_more target_ambiguous targets_overlap",
  'towers {"target_modules":["fc"],"modules_to_save":["nothing"]}': "target_ambiguous target_not_found",
  'towers {"target_modules":["fc"],"modules_to_save":["layers"]}': "target_ambiguous targets_overlap",
  'rooted {"target_modules":["w1"],"layers_to_transform":[1]}': "hugging_face_targets_more target_ambiguous",
};

describe("whole names take the same, but for what docs/matching.md lists", () => {
  test.each(cases)("%s", async (title, modules, one) => {
    const result = await ours(modules, one, "whole-names");
    const same =
      one.expected.error === undefined &&
      result.faults.length === 0 &&
      JSON.stringify([result.targets, result.saved]) ===
        JSON.stringify([one.expected.targets, one.expected.saved]);
    const told = same ? undefined : [...new Set(result.codes)].sort().join(" ");
    expect([told]).toEqual([DIFFERENCES[title]]);
  });
});
