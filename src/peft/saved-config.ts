import { MODULE_OPTIONS } from "../base/module-pattern.js";
import type { ModulePattern } from "../base/module-pattern.js";
import {
  huggingFaceModulesToSave,
  huggingFaceParameters,
  huggingFaceTargets,
  huggingFaceValue,
  type HuggingFaceTargets,
  isPlain,
} from "../match/hugging-face.js";
import type { ListedModule } from "../match/module-list.js";
import { named } from "../match/named.js";
import { listParameters, parameterPath } from "../match/parameters.js";
import type { MatchReport } from "../match/report.js";
import type { MethodDefinition } from "../methods/method.js";
import type { ResolvedConfig } from "./attached-adapter.js";

const escape = (name: string): string => name.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&");

const same = (a: readonly string[], b: readonly string[]): boolean =>
  a.length === b.length && new Set([...a, ...b]).size === a.length;

/** The first spelling that Hugging Face reads as exactly these targets: as it was written, full names, a regular expression. */
function savedTargets(
  report: MatchReport,
  config: ResolvedConfig,
  followsTies: boolean,
): Record<string, unknown> {
  const { modules } = report;
  // What is adapted because it shares a weight is found anew by whoever reads the file.
  const names = report.targets
    .filter(({ why, parameter }) => !why.startsWith("tied to ") && parameter === undefined)
    .map(({ name }) => name);
  const modulesToSave = report.modulesToSave.map(({ name }) => name);
  const fits = (targets: HuggingFaceTargets): boolean =>
    same(
      huggingFaceTargets(modules, { ...targets, modulesToSave }).map((i) => modules[i]!.name),
      names,
    );
  const written = {
    targetModules: config["targetModules"] as ModulePattern | undefined,
    excludeModules: config["excludeModules"] as ModulePattern | undefined,
    layersToTransform: config["layersToTransform"] as number | readonly number[] | undefined,
    layersPattern: config["layersPattern"] as string | readonly string[] | undefined,
  };
  if (written.targetModules === undefined) return {};
  const { targetModules, excludeModules, ...layers } = written;
  if (followsTies && isPlain(targetModules)) return {};
  if (isPlain(targetModules) && isPlain(excludeModules) && fits({ ...layers, targetModules, excludeModules }))
    return {};
  const open = { excludeModules: undefined, layersToTransform: undefined, layersPattern: undefined };
  if (fits({ targetModules: names })) return { ...open, targetModules: names };
  return { ...open, targetModules: `(?:${names.map(escape).join("|")})` };
}

/** Parameters as Hugging Face finds them: as they were written, or full names. */
function savedParameters(report: MatchReport, config: ResolvedConfig): Record<string, unknown> {
  const written = config["targetParameters"] as ModulePattern | undefined;
  const adapted = report.targets.filter(({ parameter }) => parameter !== undefined).map(parameterPath);
  if (written === undefined || adapted.length === 0) return {};
  const parameters = listParameters(report.modules);
  const found = (entries: readonly string[]): string[] =>
    huggingFaceParameters(parameters, entries).map((i) => parameters[i]!.name);
  const asWritten = isPlain(written) && same(found(written as readonly string[]), adapted);
  return asWritten ? {} : { targetParameters: adapted };
}

/** Keys by name that Hugging Face reads as exactly these values. */
function savedPatterns(
  report: MatchReport,
  method: MethodDefinition,
  config: ResolvedConfig,
): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(method.patterns ?? {}).flatMap(([option, replaces]): [string, unknown][] => {
      const written = config[option] as Readonly<Record<string, number>> | undefined;
      if (written === undefined || Object.keys(written).length === 0) return [];
      const fits = (values: Readonly<Record<string, number>>): boolean =>
        report.targets.every(
          (target) => huggingFaceValue(values, parameterPath(target), option) === target.values[replaces],
        );
      if (Object.keys(written).every((key) => !/[{}!]|\*\*/.test(key)) && fits(written)) return [];
      const entries = report.targets.flatMap((target): [string, number][] => {
        const value = target.values[replaces];
        return value === undefined ? [] : [[parameterPath(target), value]];
      });
      const byName = Object.fromEntries(entries);
      const exact = Object.fromEntries(entries.map(([name, value]) => [`^${escape(name)}`, value]));
      return [[option, fits(byName) ? byName : exact]];
    }),
  );
}

/** Other options that point at modules, such as `feedforwardModules`: richer spellings become full names. */
function savedPointers(report: MatchReport, config: ResolvedConfig): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(config).flatMap(([option, value]): [string, unknown][] => {
      if (MODULE_OPTIONS.includes(option) || !isRich(value)) return [];
      const names = report.targets.filter((module) => named(value, module)).map(({ name }) => name);
      return [[option, names]];
    }),
  );
}

/** Whether a value can only be an entry of our grammar. */
const isRich = (value: unknown): value is ModulePattern =>
  Array.isArray(value) && value.length > 0 && !isPlain(value as ModulePattern) && value.every(isEntry);

const isEntry = (entry: unknown): boolean =>
  typeof entry === "string" ||
  (typeof entry === "object" &&
    entry !== null &&
    ["exact", "regex", "kind", "match"].some((key) => key in entry));

/** The options of an adapter as Hugging Face can read them, and select what was selected here. */
export function savedConfig(
  report: MatchReport,
  method: MethodDefinition,
  config: ResolvedConfig,
): ResolvedConfig {
  const saved = report.modulesToSave.map(({ name }) => name);
  return {
    ...config,
    ...savedTargets(report, config, method.followsTies === true),
    ...savedParameters(report, config),
    ...savedPatterns(report, method, config),
    ...savedPointers(report, config),
    modulesToSave: saved.length === 0 ? undefined : saved,
  };
}

/** Modules that Hugging Face would expect in the file of an adapter besides those that it holds: their names end like a saved one's. */
export function expectedCopies(report: MatchReport): ListedModule[] {
  const names = report.modulesToSave.map(({ name }) => name);
  return huggingFaceModulesToSave(report.modules, names)
    .map((i) => report.modules[i]!)
    .filter(({ status }) => status !== "saved");
}
