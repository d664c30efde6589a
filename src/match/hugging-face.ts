import type { ModulePattern } from "../base/module-pattern.js";
import type { LayerChoice } from "./layers.js";
import type { ListedModule } from "./module-list.js";
import type { ListedParameter } from "./parameters.js";
import { pathExpression } from "./parse-entry.js";

/** The options of a configuration as Hugging Face's files hold them: texts and lists of texts. */
export interface HuggingFaceTargets extends LayerChoice {
  readonly targetModules: string | readonly string[];
  readonly excludeModules?: string | readonly string[] | undefined;
  readonly modulesToSave?: readonly string[] | undefined;
}

/** Whether Hugging Face's files can hold a value: a text, or a list of texts with no sign of our grammar. */
export function isPlain(
  pattern: ModulePattern | undefined,
): pattern is string | readonly string[] | undefined {
  if (pattern === undefined || typeof pattern === "string") return true;
  return (
    Array.isArray(pattern) && pattern.every((entry) => typeof entry === "string" && !/[*{}!]/.test(entry))
  );
}

/** Hugging Face's rule for lists: the path itself, or whole segments at its end. */
const endsWith = (path: string, entries: readonly string[]): boolean =>
  entries.some((entry) => path === entry || path.endsWith(`.${entry}`));

function layerFits(path: string, { layersToTransform, layersPattern }: LayerChoice): boolean {
  if (layersToTransform === undefined) return true;
  if (Array.isArray(layersToTransform) && layersToTransform.length === 0) return true;
  const lists = typeof layersPattern === "string" ? [layersPattern] : (layersPattern ?? []);
  const expressions =
    lists.length === 0 || lists[0] === ""
      ? [/^.*?\.[^.]*\.(\d+)\./]
      : lists.map((list) => new RegExp(`^(?:|.*?\\.)(?:${list})\\.(\\d+)\\.`));
  const found = expressions.map((expression) => expression.exec(path)).find((match) => match !== null);
  if (found === undefined) return false;
  const layer = Number(found[1]);
  return typeof layersToTransform === "number"
    ? layer === layersToTransform
    : layersToTransform.includes(layer);
}

/**
 * What Hugging Face PEFT selects with a configuration, by its own rules: exact names skip `layersToTransform`, modules to save and
 * what is below them are left out, a bare text has to fit the whole path.
 */
export function huggingFaceTargets(modules: readonly ListedModule[], targets: HuggingFaceTargets): number[] {
  const { targetModules, excludeModules, modulesToSave = [] } = targets;
  const excluded =
    typeof excludeModules === "string"
      ? pathExpression(excludeModules, "excludeModules")
      : { test: (path: string) => endsWith(path, excludeModules ?? []) };
  const saved = modulesToSave.map((entry) => new RegExp(`^(?:|.*\\.)(?:${entry})(?:$|\\..*)`, "s"));
  const all = typeof targetModules === "string" && targetModules.toLowerCase() === "all-linear";
  const whole =
    typeof targetModules === "string" && !all ? pathExpression(targetModules, "targetModules") : undefined;
  return [...modules.keys()].filter((i) => {
    const { name, kind } = modules[i]!;
    if (excluded.test(name) || saved.some((expression) => expression.test(name))) return false;
    if (all) return kind === "linear" || kind === "conv1d";
    if (whole !== undefined) return whole.test(name);
    if (targetModules.includes(name)) return true;
    return endsWith(name, targetModules as readonly string[]) && layerFits(name, targets);
  });
}

/** Parameters that Hugging Face adapts by themselves: nothing but their paths counts, neither layers nor exclusions. */
export function huggingFaceParameters(
  parameters: readonly ListedParameter[],
  entries: readonly string[],
): number[] {
  return [...parameters.keys()].filter((i) => endsWith(parameters[i]!.name, entries));
}

/** Modules that Hugging Face trains as a whole: those whose path ends with an entry, as characters. */
export function huggingFaceModulesToSave(
  modules: readonly ListedModule[],
  entries: readonly string[],
): number[] {
  if (entries.length === 0) return [];
  return [...modules.keys()].filter((i) => entries.some((entry) => modules[i]!.name.endsWith(entry)));
}

/** The value of the first key that fits the end of a path, as Hugging Face reads `rank_pattern`. */
export function huggingFaceValue(
  patterns: Readonly<Record<string, number>>,
  path: string,
  option: string,
): number | undefined {
  const key = Object.keys(patterns).find((pattern) =>
    pathExpression(`(?:.*\\.)?(?:${pattern})`, option).test(path),
  );
  return key === undefined ? undefined : patterns[key];
}
