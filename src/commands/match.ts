import { choice, flag, type Options, optionalText } from "../base/option.js";
import { readOptions } from "../base/read-options.js";
import { modelPath } from "../cli/embedded.js";
import { availableTargets, matchSummary } from "../cli/match-summary.js";
import { matchTree, paintFor } from "../cli/match-tree.js";
import type { Terminal } from "../cli/terminal.js";
import type { TensorFile } from "../files/tensor-file.js";
import type { MatchReport } from "../match/report.js";
import { models } from "../models/index.js";
import type { ModelDefinition } from "../models/model.js";
import { methods, type PeftConfig, type PeftType } from "../methods/index.js";
import { prepareConfig } from "../peft/adapter.js";
import { needsTargets } from "../peft/adapter-report.js";
import { readAdapterConfig } from "../peft/hf-format.js";
import { type InspectedModel, openForMatching, reportIn } from "../peft/inspect-matches.js";
import { loadedMatches } from "../peft/loaded-matches.js";
import { matchError } from "../peft/match-error.js";
import { type OpenAdapter, openAdapter } from "../peft/open-adapter.js";
import { defineCommand } from "./command.js";

const ownOptions = {
  peftType: choice({
    values: Object.keys(methods) as PeftType[],
    default: Object.keys(methods)[0] as PeftType,
    doc: "Method.",
  }),
  adapter: optionalText({
    doc: "Shows what the adapter of a folder holds on to, by its tensors.",
    placeholder: "<folder>",
  }),
  json: flag({ default: false, doc: "Prints the whole report as JSON." }),
};

const methodOptions = Object.values(methods).reduce<Options>(
  (all, method) => ({ ...all, ...(method.config as Options) }),
  {},
);

/** The tensors of an adapter under the names that they have on a model; their own where it is a list of modules. */
function adapterWeights({ root, subject, modelType }: InspectedModel, files: OpenAdapter): TensorFile {
  const known = models as Readonly<Record<string, ModelDefinition | undefined>>;
  const prefix = modelType === undefined ? undefined : known[modelType]?.prefix;
  if (root === undefined || prefix === undefined) return files.weights;
  return files.weightsFor({ root, prefix, heads: subject.heads }).weights;
}

/** The report of an adapter folder. */
async function adapterFolderReport(model: InspectedModel, folder: string): Promise<MatchReport> {
  const files = await openAdapter(folder);
  try {
    const { config } = readAdapterConfig(files.config, files.configPath);
    const from = { source: files.configPath, spelling: "snake_case" } as const;
    const { method, resolved } = prepareConfig(config, model.defaultTargets, from);
    const { path, tensors } = adapterWeights(model, files);
    const file = { path, keys: [...tensors.keys()] };
    const { report, warnings } = loadedMatches(model.subject, file, method, resolved);
    return { ...report, warnings: [...report.warnings, ...warnings] };
  } finally {
    files.weights.close();
  }
}

function show(report: MatchReport, terminal: Terminal): void {
  const paint = paintFor(process.stdout.isTTY === true && process.env["NO_COLOR"] === undefined);
  for (const line of matchTree(report, paint)) terminal.line(line);
  terminal.line();
  for (const line of matchSummary(report)) terminal.line(line);
  for (const { text } of report.warnings) terminal.note(`warning: ${text}`);
  if (report.faults.length > 0) terminal.note(matchError(report).message);
}

/** What could be targeted, where nothing was asked for. */
function showAvailable(
  model: InspectedModel,
  report: MatchReport | undefined,
  peftType: string,
  terminal: Terminal,
): void {
  const all = report ?? reportIn(model, { peftType: "LORA", targetModules: "all-linear" });
  terminal.line();
  terminal.line("could be named");
  for (const line of availableTargets(all)) terminal.line(`  ${line}`);
  const { modelType } = model;
  const entries = report?.entries
    .filter(({ option }) => option === "targetModules")
    .map(({ entry }) => entry);
  terminal.line();
  const { sites, title } = methods[peftType as PeftType];
  if ((sites as readonly string[]).includes("model")) {
    terminal.line(`${title} (${peftType}) holds on to the model as a whole: it has no targets`);
    return;
  }
  terminal.line(
    entries === undefined || entries.length === 0
      ? `${peftType} has no default for ${modelType}: give --target-modules`
      : `default of ${peftType} for ${modelType}: ${entries.join(", ")}`,
  );
}

/** `peft match`: shows which modules an adapter would take, before anything is loaded. */
export const match = defineCommand({
  name: "match",
  summary:
    "Shows which modules an adapter would take, by which entry, and why not the others; no weight is read.",
  args: [{ name: "<model>", doc: "Model folder, .gguf file or Hub id; or embedded." }],
  options: { ...methodOptions, ...ownOptions },
  examples: [
    "peft match embedded",
    "peft match embedded --target-modules q_proj,v_proj --modules-to-save lm_head",
    "peft match embedded --target-modules 'layers.{0-3}.**.q_proj,!layers.2.**'",
    "peft match embedded --adapter out",
  ],
  async run({ args, flags, terminal }) {
    const [name = ""] = args;
    const { peftType: _, adapter: __, json: ___, ...given } = flags;
    const own = Object.fromEntries(Object.entries(flags).filter(([key]) => Object.hasOwn(ownOptions, key)));
    const from = { source: "The command line", spelling: "kebab-case", fix: "peft match --help" } as const;
    const { peftType, adapter, json } = readOptions(ownOptions, own, from);
    const model = await openForMatching(modelPath(name));
    const asked = Object.keys(given).length > 0 || adapter !== undefined;
    const config = { ...given, peftType } as PeftConfig;
    const { method, resolved } = prepareConfig(config, model.defaultTargets, from);
    const open = needsTargets(method) && resolved["targetModules"] === undefined;
    if (!asked && open) {
      showAvailable(model, undefined, peftType, terminal);
      return 0;
    }
    const report =
      adapter === undefined ? reportIn(model, config) : await adapterFolderReport(model, adapter);
    if (json) terminal.line(JSON.stringify(report, undefined, 2));
    else {
      show(report, terminal);
      if (!asked) showAvailable(model, report, peftType, terminal);
    }
    return report.faults.length > 0 ? 2 : 0;
  },
});
