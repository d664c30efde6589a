import type { PretrainedModel } from "../auto/pretrained-model.js";
import { ConfigError } from "../base/errors.js";
import type { MatchReport, MatchWarning } from "../match/report.js";
import type { PeftConfig } from "../methods/index.js";
import type { MethodDefinition } from "../methods/method.js";
import { namedModules } from "../nn/module.js";
import { type AdapterMatches, prepareConfig } from "./adapter.js";
import { adapterReport, type MatchSubject, matchSubject, needsTargets } from "./adapter-report.js";
import type { ResolvedConfig } from "./attached-adapter.js";
import { HEAD_NAMES } from "./head-names.js";
import { assertNoFaults } from "./match-error.js";
import { moduleFacts } from "./module-facts.js";
import { checkTying, tieWarnings, withTied } from "./ties.js";

/** A warning that does not stop the work. */
export type PeftWarning = MatchWarning;

/** What attaching a configuration will do. */
export interface AdapterPlan {
  readonly method: MethodDefinition;
  readonly config: ResolvedConfig;
  readonly subject: MatchSubject;
  readonly report: MatchReport;
  readonly matches: AdapterMatches;
  readonly warnings: readonly PeftWarning[];
}

/** A model as matching sees it. */
export function baseSubject({ module, name, taskType }: PretrainedModel): MatchSubject {
  const modules = new Map(namedModules(module));
  return matchSubject(name, moduleFacts(module), (path) => modules.get(path), HEAD_NAMES[taskType], module);
}

/** A rank above the size of a layer adds no expressive power; Python takes it, so it is no error. */
export function rankWarnings({ targets }: MatchReport): PeftWarning[] {
  const small = targets.filter(
    ({ rank, shape }) => rank !== undefined && shape !== undefined && Math.min(...shape) < rank,
  );
  if (small.length === 0) return [];
  const text = `r: ${small[0]!.rank} is larger than the smaller side of ${small.length} of the target modules, such as ${small[0]!.name}.`;
  return [{ code: "rank_too_large", text }];
}

/** The error for a method that has no targets of its own for a model. */
export function targetUnspecified(method: string, modelType: string | undefined): ConfigError {
  return new ConfigError({
    code: "target_unspecified",
    summary: `${method} has no default targets for ${modelType === undefined ? "a list of modules" : `model_type ${modelType}`}.`,
    fixes: ['targetModules: ["..."]'],
    fields: { method, modelType },
  });
}

/** The matches of a report with the modules behind them. */
export function matchesOf(report: MatchReport, subject: MatchSubject): AdapterMatches {
  return {
    targets: report.targets.map(({ name, values }) => ({
      path: name,
      module: subject.moduleAt(name)!,
      values,
    })),
    modulesToSave: report.modulesToSave.map(({ name }) => ({ path: name, module: subject.moduleAt(name)! })),
  };
}

/**
 * Reads a configuration and finds its modules; nothing is attached yet.
 *
 * @throws {@link ConfigError} for options, {@link TargetError} for modules
 */
export function planAdapter(base: PretrainedModel, config: PeftConfig): AdapterPlan {
  const { definition, module } = base;
  const from = { source: config.peftType };
  const { method, resolved, target, isDefault } = prepareConfig(config, definition.defaultTargets, from);
  if (target === undefined && needsTargets(method))
    throw targetUnspecified(method.name, definition.modelType);
  const subject = baseSubject(base);
  const report = adapterReport(subject, method, resolved, isDefault);
  assertNoFaults(report);
  const matches = matchesOf(report, subject);
  const tying = resolved["ensureWeightTying"] === true;
  checkTying(module, matches.targets, tying);
  const modulesToSave = withTied(module, matches.modulesToSave, tying);
  const canTie = Object.hasOwn(method.config, "ensureWeightTying");
  const saved = modulesToSave.length === 0 ? undefined : modulesToSave.map(({ path }) => path);
  return {
    method,
    config: { ...resolved, modulesToSave: saved },
    subject,
    report,
    matches: { ...matches, modulesToSave },
    warnings: [
      ...report.warnings,
      ...(tying ? [] : tieWarnings(module, modulesToSave, canTie)),
      ...(method.lowRank === true ? rankWarnings(report) : []),
    ],
  };
}
