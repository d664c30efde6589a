import { findModel } from "../auto/open-pretrained.js";
import { PretrainedModel } from "../auto/pretrained-model.js";
import { openCheckpoint } from "../files/checkpoint.js";
import { resolveModel } from "../files/hub.js";
import type { ModuleFacts } from "../match/module-list.js";
import type { MatchReport } from "../match/report.js";
import type { PeftConfig } from "../methods/index.js";
import { buildModel, taskOfCheckpoint } from "../models/model.js";
import { type Module, namedModules, nameTree } from "../nn/module.js";
import { RawConfig } from "../nn/raw-config.js";
import { prepareConfig } from "./adapter.js";
import { baseSubject, targetUnspecified } from "./adapter-plan.js";
import { adapterReport, type MatchSubject, matchSubject, needsTargets } from "./adapter-report.js";
import { HEAD_NAMES } from "./head-names.js";
import { moduleFacts, standIn } from "./module-facts.js";

/** What matches are looked for in. */
export interface InspectedModel {
  readonly subject: MatchSubject;
  readonly modelType: string | undefined;
  readonly defaultTargets: Readonly<Record<string, readonly string[]>>;
  /** The tree of modules, where it is a model and no list. */
  readonly root: Module | undefined;
}

/** The modules of a checkpoint, from its config alone. */
async function openTree(path: string): Promise<InspectedModel> {
  const checkpoint = await openCheckpoint(await resolveModel(path));
  try {
    const values = checkpoint.config();
    const definition = findModel(values, checkpoint.path);
    const task = taskOfCheckpoint(definition, values);
    const root = buildModel(definition, task, new RawConfig(values, `${checkpoint.path}/config.json`));
    nameTree(root);
    const modules = new Map(namedModules(root));
    const subject = matchSubject(path, moduleFacts(root), (at) => modules.get(at), HEAD_NAMES[task], root);
    return { subject, modelType: definition.modelType, defaultTargets: definition.defaultTargets, root };
  } finally {
    checkpoint.close();
  }
}

/** Opens a model, a checkpoint's headers or a list of modules for matching. */
export async function openForMatching(
  source: PretrainedModel | string | readonly ModuleFacts[],
): Promise<InspectedModel> {
  if (typeof source === "string") return openTree(source);
  if (source instanceof PretrainedModel) {
    const { definition, module: root } = source;
    const { modelType, defaultTargets } = definition;
    return { subject: baseSubject(source), modelType, defaultTargets, root };
  }
  const modules = new Map(source.map((facts) => [facts.name, standIn(facts)]));
  const subject = matchSubject("the list of modules", source, (at) => modules.get(at), []);
  return { subject, modelType: undefined, defaultTargets: {}, root: undefined };
}

/** The report of a configuration in an opened model. */
export function reportIn(model: InspectedModel, config: PeftConfig): MatchReport {
  const { subject, modelType, defaultTargets } = model;
  const from = { source: config.peftType };
  const { method, resolved, target, isDefault } = prepareConfig(config, defaultTargets, from);
  if (target === undefined && needsTargets(method)) throw targetUnspecified(method.name, modelType);
  return adapterReport(subject, method, resolved, isDefault);
}

/**
 * What an adapter configuration would take, before anything is attached: which modules, by which entry of which option, and why
 * the others are left out. Attaching builds the same report and follows it.
 *
 * @param source - a model, the path or Hub id of a checkpoint (its headers are read, no weight is), or a list of modules with
 * the class names and weight shapes that Hugging Face shows
 * @returns the report; what attaching would refuse is in `faults`
 * @throws {@link ConfigError} for unknown options and for entries that cannot be read
 * @example
 * const modules = [{ name: "layers.0.q_proj", type: "Linear", shape: [8, 8] }, { name: "norm", type: "LayerNorm", shape: [8] }];
 * const report = await inspectMatches(modules, { peftType: "LORA", targetModules: ["q_proj"], modulesToSave: ["norm"] });
 * report.targets.map(({ name }) => name); // => ["layers.0.q_proj"]
 * report.modulesToSave.map(({ name }) => name); // => ["norm"]
 */
export async function inspectMatches(
  source: PretrainedModel | string | readonly ModuleFacts[],
  config: PeftConfig,
): Promise<MatchReport> {
  return reportIn(await openForMatching(source), config);
}
