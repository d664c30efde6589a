import { huggingFaceModulesToSave, huggingFaceTargets, isPlain } from "./hugging-face.js";
import { countHits, type Lookup, type OptionHits } from "./lookup.js";
import type { ListedModule } from "./module-list.js";
import { type ParsedEntry, pathExpression } from "./parse-entry.js";
import type { MatchSettings } from "./report-settings.js";
import { huggingFaceOnly } from "./hugging-face-only.js";

const entryOf = (label: string, mode: ParsedEntry["mode"]): ParsedEntry => ({
  label: JSON.stringify(label),
  optional: true,
  negated: false,
  mode,
});

/** The hits of an option: the modules at `places`, each named by the first entry that fits it. */
function hitsOf(
  option: string,
  labels: readonly string[],
  modules: readonly ListedModule[],
  places: readonly number[],
  fits: (label: string, path: string) => boolean,
): OptionHits {
  const entries = labels.map((label) => entryOf(label, "name"));
  const hits: ParsedEntry[][] = [];
  for (const i of places)
    hits[i] = [entries[labels.findIndex((label) => fits(label, modules[i]!.name))] ?? entries[0]!];
  hits.length = modules.length;
  return { option, entries, hits, counts: countHits(entries, hits) };
}

const endsWith = (label: string, path: string): boolean => path === label || path.endsWith(`.${label}`);

/**
 * Looks up a configuration by Hugging Face's rules, which differ from option to option: `matching: "hugging-face"`.
 *
 * @throws {@link ConfigError} `matching_hugging_face` for entries that its files cannot hold
 */
export function huggingFaceHits(modules: readonly ListedModule[], settings: MatchSettings): Lookup {
  const { targetModules, excludeModules, modulesToSave, heads } = settings;
  for (const [option, value] of Object.entries({ targetModules, excludeModules, modulesToSave }))
    if (!isPlain(value)) throw huggingFaceOnly(option, value);
  const asList = (value: unknown): readonly string[] =>
    value === undefined ? [] : typeof value === "string" ? [value] : (value as readonly string[]);
  const targets = targetModules as string | readonly string[];
  const exclude = excludeModules as string | readonly string[] | undefined;
  const save = [...new Set([...asList(modulesToSave), ...heads])];
  const saved = huggingFaceModulesToSave(modules, save);
  const chosen = huggingFaceTargets(modules, {
    ...settings,
    targetModules: targets,
    excludeModules: exclude,
    modulesToSave: save,
  });
  const patterns = settings.patterns.map(([option, replaces, values]) => {
    const keys = Object.keys(values);
    const fits = (key: string, path: string): boolean =>
      pathExpression(`(?:.*\\.)?(?:${key})`, option).test(path);
    const places = [...modules.keys()].filter((i) => keys.some((key) => fits(key, modules[i]!.name)));
    const looked = hitsOf(option, keys, modules, places, fits);
    return {
      ...looked,
      replaces,
      values,
      valueOf: (entry: ParsedEntry) => values[keys[looked.entries.indexOf(entry)]!]!,
    };
  });
  return {
    targets: hitsOf("targetModules", asList(targets), modules, chosen, endsWith),
    exclude: hitsOf("excludeModules", asList(exclude), modules, [], endsWith),
    save: hitsOf("modulesToSave", save, modules, saved, (label, path) => path.endsWith(label)),
    patterns,
  };
}
