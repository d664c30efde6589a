import type { ModulePattern } from "../base/module-pattern.js";
import type { ListedModule } from "./module-list.js";
import { type ParsedEntry, parseKey, parsePattern } from "./parse-entry.js";
import { lookUpParameters, type ParameterHits, parameterPath } from "./parameters.js";
import type { MatchSettings } from "./report-settings.js";
import { countHits, type Hits, select } from "./select.js";

/** An option whose entries have been looked up. */
export interface OptionHits {
  readonly option: string;
  readonly entries: readonly ParsedEntry[];
  readonly hits: Hits;
  /** How many modules each entry names. */
  readonly counts: ReadonlyMap<ParsedEntry, number>;
}

/** The options of a configuration, looked up in a model. */
export interface Lookup {
  readonly targets: OptionHits;
  readonly parameters: ParameterHits;
  readonly exclude: OptionHits;
  readonly save: OptionHits;
  readonly patterns: readonly (OptionHits & {
    readonly replaces: string;
    readonly values: Readonly<Record<string, number>>;
    readonly valueOf: (entry: ParsedEntry) => number;
  })[];
}

/** Looks up every option by whole names. */
export function lookUp(modules: readonly ListedModule[], settings: MatchSettings): Lookup {
  const names = new Set(modules.map(({ name }) => name));
  const isPath = (text: string): boolean => names.has(text);
  const find = (option: string, pattern: ModulePattern | undefined): OptionHits => {
    const entries = pattern === undefined ? [] : parsePattern(pattern, { option, isPath });
    const hits = select(entries, modules);
    return { option, entries, hits, counts: countHits(entries, hits) };
  };
  const parameters = lookUpParameters(modules, settings);
  const patterns = settings.patterns.map(([option, replaces, values]) => {
    const keys = Object.keys(values);
    const entries = keys.map((key) => parseKey(key, { option, isPath }));
    const valueOf = (entry: ParsedEntry): number => values[keys[entries.indexOf(entry)]!]!;
    const hits = keyHits(entries, modules, parameters);
    return { option, replaces, values, entries, valueOf, hits, counts: countHits(entries, hits) };
  });
  return {
    targets: find("targetModules", settings.targetModules),
    parameters,
    exclude: find("excludeModules", settings.excludeModules),
    save: find("modulesToSave", withHeads(settings, isPath)),
    patterns,
  };
}

/** Modules that keys name, by their paths or by those of their parameters that are adapted. */
function keyHits(
  entries: readonly ParsedEntry[],
  modules: readonly ListedModule[],
  { names }: ParameterHits,
): Hits {
  const hits = select(entries, modules);
  if (names.length === 0) return hits;
  const byParameter = select(
    entries,
    modules.map((module, i) => ({ ...module, name: parameterPath({ ...module, parameter: names[i] }) })),
  );
  return modules.map((_, i) =>
    names[i] === undefined ? hits[i] : [...new Set([...(hits[i] ?? []), ...(byParameter[i] ?? [])])],
  );
}

/** The modules to save with the heads of the task. A text is a name here: Hugging Face knows lists alone. */
function withHeads(
  { modulesToSave, heads }: MatchSettings,
  isPath: (text: string) => boolean,
): ModulePattern | undefined {
  const written =
    modulesToSave === undefined ? [] : Array.isArray(modulesToSave) ? modulesToSave : [modulesToSave];
  const named = new Set<unknown>(written);
  return [...written, ...heads.filter((head) => isPath(head) && !named.has(head))];
}
