import {
  huggingFaceModulesToSave,
  huggingFaceParameters,
  huggingFaceTargets,
  isPlain,
} from "./hugging-face.js";
import type { Lookup, OptionHits } from "./lookup.js";
import { listParameters } from "./parameters.js";
import type { MatchWarning, ModuleMatch } from "./report.js";
import type { MatchSettings } from "./report-settings.js";

const listed = (names: readonly string[]): string =>
  `${names.slice(0, 4).join(", ")}${names.length > 4 ? ` and ${names.length - 4} more` : ""}`;

const unquoted = (label: string): string => label.replace(/^"|"$/g, "");

/** Where Hugging Face would take more than is taken here, said once for an option. */
export function huggingFaceExtras(
  modules: readonly ModuleMatch[],
  lookup: Lookup,
  settings: MatchSettings,
): MatchWarning[] {
  const warnings: MatchWarning[] = [];
  const names = lookup.save.entries
    .filter(({ mode, negated }) => !negated && ["name", "suffix", "path", "exact"].includes(mode))
    .map(({ label, path }) => (path === undefined ? unquoted(label) : path.segments.join(".")));
  const saved = huggingFaceModulesToSave(modules, names)
    .map((i) => modules[i]!)
    .filter(({ status }) => status !== "saved");
  if (saved.length > 0) {
    warnings.push({
      code: "hugging_face_saves_more",
      text:
        `modulesToSave: Hugging Face PEFT compares the last characters alone and would also train ` +
        `${listed(saved.map(({ name }) => name))}; here whole names are compared.`,
    });
  }
  const { targetModules, targetParameters, excludeModules, layersToTransform, layersPattern } = settings;
  if (targetParameters !== undefined && isPlain(targetParameters)) {
    const parameters = listParameters(modules);
    const more = huggingFaceParameters(parameters, targetParameters as readonly string[])
      .map((i) => parameters[i]!)
      .filter(({ module }) => ["unmatched", "excluded", "layer"].includes(modules[module]!.status));
    if (more.length > 0) {
      warnings.push({
        code: "hugging_face_targets_more",
        text: `targetParameters: Hugging Face PEFT looks at the endings of paths alone and would also adapt ${listed(more.map(({ name }) => name))}.`,
      });
    }
  }
  if (settings.defaultTargets || !isPlain(targetModules) || !isPlain(excludeModules)) return warnings;
  const theirs = huggingFaceTargets(modules, {
    targetModules,
    excludeModules,
    layersToTransform,
    layersPattern,
  })
    .map((i) => modules[i]!)
    .filter(({ status }) => status === "unmatched" || status === "layer");
  if (theirs.length > 0) {
    const layers = theirs.every(({ status }) => status === "layer");
    const reason = layers
      ? "does not look at layersToTransform where an entry is the whole path"
      : "takes a whole path for an ending too";
    warnings.push({
      code: "hugging_face_targets_more",
      text: `targetModules: Hugging Face PEFT ${reason} and would also adapt ${listed(theirs.map(({ name }) => name))}.`,
    });
  }
  return warnings;
}

/** Entries that name modules of which none is taken: all of them are left out by another option. */
export function idleEntries(
  modules: readonly ModuleMatch[],
  { targets, parameters }: Lookup,
): MatchWarning[] {
  return [targets, parameters].flatMap((option) => idleEntriesOf(modules, option));
}

function idleEntriesOf(modules: readonly ModuleMatch[], targets: OptionHits): MatchWarning[] {
  const left = new Map(
    targets.entries.filter(({ negated }) => !negated).map((entry) => [entry, [] as ModuleMatch[]]),
  );
  targets.hits.forEach((here, i) => {
    const module = modules[i]!;
    const out = module.status === "layer" || module.status === "excluded";
    here?.forEach((entry) => {
      if (!out) left.delete(entry);
      else left.get(entry)?.push(module);
    });
  });
  return [...left].flatMap(([{ label }, named]) => {
    if (named.length === 0) return [];
    const reasons = [...new Set(named.map(({ why }) => why))];
    const text = `${targets.option}: ${label} has no effect: ${listed(named.map(({ name }) => name))} (${listed(reasons)}).`;
    return [{ code: "entry_without_effect", text }];
  });
}
