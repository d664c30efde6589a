import { ambiguityFindings } from "./ambiguity.js";
import { nothingLeft, notFound, unknownLayers, unsupported } from "./faults.js";
import { huggingFaceExtras, idleEntries } from "./hugging-face-extras.js";
import { huggingFaceHits } from "./hugging-face-hits.js";
import { chosenLayers, layerLists, layerOf } from "./layers.js";
import type { EntryCount, EntryGroup, EntryUse, MatchReport, ModuleMatch, ModuleStatus } from "./report.js";
import type { ListedModule } from "./module-list.js";
import { type Lookup, lookUp, type OptionHits } from "./lookup.js";
import { overlaps } from "./overlaps.js";
import type { ParsedEntry } from "./parse-entry.js";
import { holds } from "./parameters.js";
import { adaptedTwice, unsupportedParameters } from "./parameter-faults.js";
import type { MatchSettings } from "./report-settings.js";
import { chosen, countHits } from "./select.js";

/** Modules that are saved as a whole, and for every module the saved one that it is or is part of. */
function savedRoots(modules: readonly ListedModule[], save: OptionHits): (string | undefined)[] {
  const roots = new Set<string>();
  for (const i of chosen(save.hits)) roots.add(modules[i]!.name);
  if (roots.size === 0) return [];
  return modules.map(({ name }) => {
    let root: string | undefined;
    for (let end = name.length; end > 0; end = name.lastIndexOf(".", end - 1))
      if (roots.has(name.slice(0, end))) root = name.slice(0, end);
    return root;
  });
}

const NO_USE: readonly EntryUse[] = [];

const NOTHING: Readonly<Record<string, number>> = {};

const use = (option: string, { label, mode }: ParsedEntry): EntryUse => ({ option, entry: label, mode });

/** What the states of modules follow from. */
interface Facts {
  readonly lookup: Lookup;
  readonly settings: MatchSettings;
  /** For every module the saved one that it is or is part of. */
  readonly roots: readonly (string | undefined)[];
  readonly layers: ReadonlySet<number> | undefined;
  readonly lists: readonly string[];
}

/** State of one module, and why. */
function stateOf(
  i: number,
  module: ListedModule,
  parameter: string | undefined,
  { lookup, settings, roots, layers, lists }: Facts,
): [status: ModuleStatus, why: string] {
  const { exclude, save } = lookup;
  const root = roots[i];
  if (root !== undefined) {
    const [entry] = save.hits[i] ?? [];
    const itself = root === module.name && entry !== undefined;
    return ["saved", itself ? `modulesToSave ${entry.label}` : `part of ${root}`];
  }
  const { option, hits } = parameter === undefined ? lookup.targets : lookup.parameters;
  const named = hits[i];
  if (named === undefined) return ["unmatched", "named by no entry"];
  const negation = named.find(({ negated }) => negated);
  if (negation !== undefined) return ["excluded", `${option} ${negation.label}`];
  const excluded = exclude.hits[i];
  if (excluded !== undefined && !excluded.some(({ negated }) => negated))
    return ["excluded", `excludeModules ${excluded[0]!.label}`];
  if (layers !== undefined) {
    const layer = layerOf(module.name, lists);
    if (layer === undefined) return ["layer", "it is in no layer"];
    if (!layers.has(layer)) return ["layer", `layer ${layer} is not selected`];
  }
  if (!settings.supports(module, parameter)) {
    const part = parameter === undefined ? "" : `the ${parameter} of `;
    return ["unsupported", `${settings.method} cannot adapt ${part}a ${module.type}`];
  }
  return ["adapted", `${option} ${named[0]!.label}`];
}

type Counted = { -readonly [K in keyof EntryGroup]: EntryGroup[K] };

const sameShape = (a: readonly number[] | undefined, b: readonly number[] | undefined): boolean =>
  a === b || (a?.length === b?.length && a?.every((size, axis) => size === b![axis]) === true);

/** Counts a module in the group of its type and shape. */
function count(groups: Counted[], { type, kind, shape }: ModuleMatch): void {
  const known = groups.find((group) => group.type === type && sameShape(group.shape, shape));
  if (known === undefined) groups.push({ type, kind, shape, count: 1 });
  else known.count += 1;
}

function countEntries(modules: readonly ModuleMatch[], options: readonly OptionHits[]): EntryCount[] {
  return options.flatMap(({ option, entries, hits }) => {
    const groups = new Map(entries.map((entry) => [entry, [] as Counted[]]));
    hits.forEach((here, i) => here?.forEach((entry) => count(groups.get(entry)!, modules[i]!)));
    return entries.map((entry) => {
      const list: readonly EntryGroup[] = groups.get(entry)!;
      const total = list.reduce((sum, group) => sum + group.count, 0);
      return { ...use(option, entry), optional: entry.optional, count: total, groups: list };
    });
  });
}

/** Values that replace options at a module: those of the keys that name it. */
function valuesAt(i: number, lookup: Lookup): Readonly<Record<string, number>> {
  let values = NOTHING;
  for (const { hits, replaces, valueOf } of lookup.patterns) {
    const entry = hits[i]?.[0];
    if (entry !== undefined) values = { ...values, [replaces]: valueOf(entry) };
  }
  return values;
}

/** Every module that the method can adapt, as the hits of one entry. */
function everyPlace(modules: readonly ListedModule[], { supports }: MatchSettings): OptionHits {
  const entry: ParsedEntry = { label: "(every place)", optional: true, negated: false, mode: "kind" };
  const hits = modules.map((module) => (supports(module) ? [entry] : undefined));
  return { option: "targetModules", entries: [entry], hits, counts: countHits([entry], hits) };
}

/** Modules that share a parameter with an adapted one are adapted with it, where the method says so. */
function withTies(modules: readonly ModuleMatch[], settings: MatchSettings): readonly ModuleMatch[] {
  const { tiedWith, supports, adapterAt } = settings;
  if (tiedWith === undefined) return modules;
  const partners = new Map<string, ModuleMatch>();
  for (const module of modules)
    if (module.status === "adapted") for (const name of tiedWith(module.name)) partners.set(name, module);
  if (partners.size === 0) return modules;
  return modules.map((module) => {
    const partner = partners.get(module.name);
    if (partner === undefined || module.status !== "unmatched" || !supports(module)) return module;
    const { values } = partner;
    const { rank, alpha } = adapterAt(module, values);
    return { ...module, status: "adapted", why: `tied to ${partner.name}`, values, rank, alpha, trained: 0 };
  });
}

/**
 * Looks up a configuration in a list of modules and says for every module and every entry what comes of it. Nothing is attached,
 * and no weight is read.
 *
 * @throws {@link ConfigError} `pattern_syntax` for an entry that cannot be read
 */
export function buildReport(modules: readonly ListedModule[], settings: MatchSettings): MatchReport {
  const strict = settings.matching === "whole-names";
  const named = strict ? lookUp(modules, settings) : huggingFaceHits(modules, settings);
  const lookup = settings.everywhere === true ? { ...named, targets: everyPlace(modules, settings) } : named;
  const roots = savedRoots(modules, lookup.save);
  const layers = strict ? chosenLayers(settings) : undefined;
  const facts: Facts = { lookup, settings, roots, layers, lists: layerLists(settings) };
  const options = [lookup.targets, lookup.parameters, lookup.exclude, lookup.save, ...lookup.patterns];
  const used = options.map(({ option, entries, hits }) => ({
    hits,
    uses: new Map(entries.map((entry) => [entry, use(option, entry)])),
  }));
  const looked = modules.map((module, i): ModuleMatch => {
    const parameter = holds(lookup.targets.hits[i]) ? undefined : lookup.parameters.names[i];
    const [status, why] = stateOf(i, module, parameter, facts);
    let matchedBy: readonly EntryUse[] = NO_USE;
    for (const { hits, uses } of used) {
      const here = hits[i]?.map((entry) => uses.get(entry)!);
      if (here !== undefined) matchedBy = matchedBy === NO_USE ? here : matchedBy.concat(here);
    }
    const values = status === "adapted" ? (settings.valuesAt?.(module) ?? valuesAt(i, lookup)) : NOTHING;
    const adapter =
      status === "adapted"
        ? settings.adapterAt(parameter === undefined ? module : { ...module, parameter }, values)
        : { rank: undefined, alpha: undefined, trained: roots[i] === module.name ? module.parameters : 0 };
    const { name, type, shape, kind, parameters } = module;
    const { rank, alpha, trained } = adapter;
    const match = {
      name,
      type,
      shape,
      kind,
      parameters,
      status,
      why,
      matchedBy,
      values,
      rank,
      alpha,
      trained,
    };
    return parameter === undefined ? match : { ...match, parameter };
  });
  const reported = withTies(looked, settings);
  const targets = reported.filter(({ status }) => status === "adapted");
  const modulesToSave = reported.filter(({ name }, i) => roots[i] === name);
  const ambiguous = strict ? ambiguityFindings(reported, lookup, settings) : { faults: [], warnings: [] };
  const faults = [
    ...(strict ? notFound(reported, lookup, settings) : []),
    ...(strict ? unknownLayers(reported, settings) : []),
    ...unsupported(reported, settings),
    ...unsupportedParameters(reported, settings),
    ...adaptedTwice(reported, lookup),
    ...(strict ? overlaps(reported, lookup, settings) : []),
    ...ambiguous.faults,
  ];
  return {
    model: settings.model,
    method: settings.method,
    modules: reported,
    targets,
    modulesToSave,
    entries: countEntries(reported, options),
    faults: [...faults, ...nothingLeft(reported, lookup, settings, faults.length > 0)],
    warnings: [
      ...ambiguous.warnings,
      ...(strict ? idleEntries(reported, lookup) : []),
      ...(strict ? huggingFaceExtras(reported, lookup, settings) : []),
    ],
  };
}
