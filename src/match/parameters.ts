import type { ModulePattern } from "../base/module-pattern.js";
import type { OptionHits } from "./lookup.js";
import type { ListedModule } from "./module-list.js";
import { type ParsedEntry, parsePattern } from "./parse-entry.js";
import type { MatchSettings } from "./report-settings.js";
import { countHits, type Hits, select } from "./select.js";

/** A parameter as it stands in a list: its name is the path of its module and its own name. */
export interface ListedParameter extends ListedModule {
  /** Its name in its module, such as `weight`. */
  readonly parameter: string;
  /** Place of its module. */
  readonly module: number;
}

/** Where a parameter stands: `layers.0.q_proj.weight`, or the module itself where no parameter of it is meant. */
export const parameterPath = ({
  name,
  parameter,
}: {
  readonly name: string;
  readonly parameter?: string | undefined;
}): string => (parameter === undefined ? name : `${name}.${parameter}`);

/** The parameters of a list of modules. */
export function listParameters(modules: readonly ListedModule[]): ListedParameter[] {
  return modules.flatMap(({ name, type, kind, shape: weight, own }, module) =>
    Object.entries(own ?? (weight === undefined ? {} : { weight })).map(([parameter, shape]) => ({
      name: parameterPath({ name, parameter }),
      type,
      kind,
      shape,
      parameter,
      module,
      parameters: shape.reduce((product, size) => product * size, 1),
    })),
  );
}

/** An option whose entries name parameters, with what they name in each module. */
export interface ParameterHits extends OptionHits {
  /** The parameter that is named of each module; of several, one that cannot be adapted. */
  readonly names: readonly (string | undefined)[];
}

const OPTION = "targetParameters";

/** Matrices alone are meant where an entry asks for kinds of modules. */
const meant = ({ kinds }: ParsedEntry, { shape }: ListedParameter): boolean =>
  kinds === undefined || shape?.length === 2;

const isTaken = (entries: readonly ParsedEntry[]): boolean => entries.every(({ negated }) => !negated);

/** Whether a module is named, by no entry that takes it out again. */
export const holds = (entries: readonly ParsedEntry[] | undefined): boolean =>
  entries !== undefined && isTaken(entries);

/** Hits of parameters as hits of their modules. */
export function hitsOfParameters(
  modules: readonly ListedModule[],
  parameters: readonly ListedParameter[],
  entries: readonly ParsedEntry[],
  found: Hits,
  { supports }: Pick<MatchSettings, "supports">,
): ParameterHits {
  const named = parameters.map((parameter, i) => found[i]?.filter((entry) => meant(entry, parameter)) ?? []);
  const hits: (readonly ParsedEntry[])[] = [];
  const names: (string | undefined)[] = [];
  hits.length = modules.length;
  for (const [i, { module: at, parameter: name }] of parameters.entries()) {
    const [here, before] = [named[i]!, hits[at]];
    if (here.length === 0) continue;
    if (before === undefined || (isTaken(here) && !isTaken(before))) {
      hits[at] = here;
      names[at] = name;
    } else if (isTaken(here) === isTaken(before)) {
      hits[at] = [...new Set([...before, ...here])];
      if (!supports(modules[at]!, name)) names[at] = name;
    }
  }
  return { option: OPTION, entries, hits, names, counts: countHits(entries, named) };
}

/** Looks up the entries of `targetParameters`, which name parameters of modules by the grammar of all others. */
export function lookUpParameters(modules: readonly ListedModule[], settings: MatchSettings): ParameterHits {
  const pattern: ModulePattern = settings.targetParameters ?? [];
  if (pattern.length === 0) return hitsOfParameters(modules, [], [], [], settings);
  const parameters = listParameters(modules);
  const paths = new Set(parameters.map(({ name }) => name));
  const entries = parsePattern(pattern, { option: OPTION, isPath: (text) => paths.has(text) });
  return hitsOfParameters(modules, parameters, entries, select(entries, parameters), settings);
}
