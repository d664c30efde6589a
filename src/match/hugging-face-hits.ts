import {
  huggingFaceModulesToSave,
  huggingFaceParameters,
  huggingFaceTargets,
  isPlain,
} from "./hugging-face.js";
import type { Lookup, OptionHits } from "./lookup.js";
import type { ListedModule } from "./module-list.js";
import { hitsOfParameters, listParameters, type ParameterHits, parameterPath } from "./parameters.js";
import { type ParsedEntry, pathExpression } from "./parse-entry.js";
import { countHits } from "./select.js";
import type { MatchSettings } from "./report-settings.js";
import { huggingFaceOnly } from "./hugging-face-only.js";

const entryOf = (label: string, mode: ParsedEntry["mode"]): ParsedEntry => ({
  label: JSON.stringify(label),
  optional: true,
  negated: false,
  mode,
});

/** The hits of an option: the paths at `places`, each named by the first entry that fits it. */
function hitsOf(
  option: string,
  labels: readonly string[],
  paths: readonly string[],
  places: readonly number[],
  fits: (label: string, path: string) => boolean,
): OptionHits {
  const entries = labels.map((label) => entryOf(label, "name"));
  const hits: ParsedEntry[][] = [];
  for (const i of places)
    hits[i] = [entries[labels.findIndex((label) => fits(label, paths[i]!))] ?? entries[0]!];
  hits.length = paths.length;
  return { option, entries, hits, counts: countHits(entries, hits) };
}

const endsWith = (label: string, path: string): boolean => path === label || path.endsWith(`.${label}`);

/**
 * Looks up a configuration by Hugging Face's rules, which differ from option to option: `matching: "hugging-face"`.
 *
 * @throws {@link ConfigError} `matching_hugging_face` for entries that its files cannot hold
 */
export function huggingFaceHits(modules: readonly ListedModule[], settings: MatchSettings): Lookup {
  const { targetModules, targetParameters, excludeModules, modulesToSave, heads } = settings;
  const chooses = { targetModules, targetParameters, excludeModules, modulesToSave };
  for (const [option, value] of Object.entries(chooses))
    if (!isPlain(value)) throw huggingFaceOnly(option, value);
  const asList = (value: unknown): readonly string[] =>
    value === undefined ? [] : typeof value === "string" ? [value] : (value as readonly string[]);
  const targets = targetModules as string | readonly string[];
  const exclude = excludeModules as string | readonly string[] | undefined;
  const save = [...new Set([...asList(modulesToSave), ...heads])];
  const saved = huggingFaceModulesToSave(modules, save);
  const names = modules.map(({ name }) => name);
  const chosen = huggingFaceTargets(modules, {
    ...settings,
    targetModules: targets,
    excludeModules: exclude,
    modulesToSave: save,
  });
  const parameters = parametersOf(modules, asList(targetParameters), settings);
  const adapted = modules.map((module, i) => parameterPath({ ...module, parameter: parameters.names[i] }));
  const patterns = settings.patterns.map(([option, replaces, values]) => {
    const keys = Object.keys(values);
    const fits = (key: string, path: string): boolean =>
      pathExpression(`(?:.*\\.)?(?:${key})`, option).test(path);
    const places = [...modules.keys()].filter((i) => keys.some((key) => fits(key, adapted[i]!)));
    const looked = hitsOf(option, keys, adapted, places, fits);
    return {
      ...looked,
      replaces,
      values,
      valueOf: (entry: ParsedEntry) => values[keys[looked.entries.indexOf(entry)]!]!,
    };
  });
  return {
    targets: hitsOf("targetModules", asList(targets), names, chosen, endsWith),
    parameters,
    exclude: hitsOf("excludeModules", asList(exclude), names, [], endsWith),
    save: hitsOf("modulesToSave", save, names, saved, (label, path) => path.endsWith(label)),
    patterns,
  };
}

function parametersOf(
  modules: readonly ListedModule[],
  labels: readonly string[],
  settings: MatchSettings,
): ParameterHits {
  if (labels.length === 0) return hitsOfParameters(modules, [], [], [], settings);
  const parameters = listParameters(modules);
  const chosen = huggingFaceParameters(parameters, labels);
  const paths = parameters.map(({ name }) => name);
  const { entries, hits } = hitsOf("targetParameters", labels, paths, chosen, endsWith);
  return hitsOfParameters(modules, parameters, entries, hits, settings);
}
