import { SPELL, writeOption } from "../base/fault-text.js";
import { optionError, readOptions, type ReadOptionsSource } from "../base/read-options.js";
import type { ModulePattern } from "../base/module-pattern.js";
import type { MatchReport } from "../match/report.js";
import type { PeftConfig } from "../methods/index.js";
import type { Companion, ConfigFault, MethodDefinition, Place } from "../methods/method.js";
import { type Module, namedModules, ownParameters } from "../nn/module.js";
import type { Parameter } from "../nn/parameter.js";
import type { Attachment } from "../nn/site.js";
import { adapterReport, type MatchSubject, placeAt } from "./adapter-report.js";
import type { AttachedAdapter, PlacedAttachment, ResolvedConfig } from "./attached-adapter.js";
import { assertNoFaults } from "./match-error.js";
import { findMethod } from "./method-registry.js";
import { attachCopies, type CopyNaming, MODULES_TO_SAVE } from "./module-copies.js";
import { AdapterScope, SiteScope } from "./site-scope.js";

/** A model's names of modules, by table. */
type DefaultTargets = Readonly<Record<string, readonly string[]>>;

/** The options of a method with defaults filled in, and every fault of them reported at once. */
function resolveConfig(
  method: MethodDefinition,
  values: Readonly<Record<string, unknown>>,
  from: ReadOptionsSource,
): ResolvedConfig {
  const resolved = readOptions(method.config, values, { ...from, refuses: method.refuses });
  const { spelling = "camelCase" } = from;
  const beside = (method.companions?.(resolved) ?? []).flatMap(({ method: other, config, option }) =>
    (other.check?.(config) ?? []).map(({ text }): ConfigFault => ({ keys: [option], text })),
  );
  const faults = [...(method.check?.(resolved) ?? []), ...beside].map(({ keys, text, fix = {} }) => {
    const [first, ...rest] = keys.map(SPELL[spelling]);
    const cures = Object.entries(fix).map(([key, value]) =>
      writeOption(key, method.config[key]!, value, spelling),
    );
    return {
      key: keys[0]!,
      text: rest.length === 0 ? text : `with ${rest.join(" and ")}: ${text}`,
      suggestions: [first!],
      ...(cures.length === 0 ? {} : { cure: cures.join(" and ") }),
    };
  });
  if (faults.length > 0) throw optionError(faults, from);
  return resolved;
}

/** What a model has in its tables for an option that was left out. */
function modelDefault(
  method: MethodDefinition,
  tables: DefaultTargets,
  option: string,
): readonly string[] | undefined {
  const sources = method.modelDefaults ?? { targetModules: [method.name] };
  const table = sources[option]?.find((name) => tables[name] !== undefined);
  return table === undefined ? undefined : tables[table];
}

/** Whether single parameters are to be adapted. */
const hasParameters = ({ targetParameters }: ResolvedConfig): boolean =>
  Array.isArray(targetParameters) && targetParameters.length > 0;

/** The method of a config and its options, those that were left out filled in; `targetModules` from the model's tables. */
export function prepareConfig(
  config: PeftConfig,
  tables: DefaultTargets,
  from: ReadOptionsSource,
): {
  readonly method: MethodDefinition;
  readonly resolved: ResolvedConfig;
  readonly target: ModulePattern | undefined;
  /** Whether the targets come from the tables. */
  readonly isDefault: boolean;
} {
  const { peftType, ...options } = config;
  const method = findMethod(peftType);
  const resolved = resolveConfig(method, options, from);
  // Parameters that are named are all that is meant, where nothing is said of modules.
  const alone = hasParameters(resolved) && resolved["matching"] !== "hugging-face" ? [] : undefined;
  const written = (resolved["targetModules"] ?? alone) as ModulePattern | undefined;
  const target = written ?? modelDefault(method, tables, "targetModules");
  const filled = Object.hasOwn(method.config, "targetModules") ? { targetModules: target } : {};
  return { method, resolved: { ...resolved, ...filled }, target, isDefault: written === undefined };
}

/** How many parameters a method declares that it trains at these places. */
export function declaredParameters(
  method: MethodDefinition,
  config: ResolvedConfig,
  places: readonly Place[],
): number {
  const at = (place: Place): ResolvedConfig => {
    const here = Object.entries(method.patterns ?? {}).flatMap(([patterns, option]) => {
      const entry = Object.entries(config[patterns] ?? {}).find(([name]) => place.named([name]));
      return entry === undefined ? [] : [[option, entry[1] as unknown] as const];
    });
    return { ...config, ...Object.fromEntries(here) };
  };
  const counts = places.map((place) => method.parameterCount(place as never, at(place) as never));
  const [first] = places;
  const common = (first && method.sharedParameterCount?.(first.site as never, config as never)) ?? 0;
  if (method.followsTies !== true) return counts.reduce((sum, count) => sum + count, common);
  // Places that share a weight are trained as one.
  const shared = new Map<unknown, number>();
  for (const [i, { site }] of places.entries()) {
    const key = "weight" in site ? site.weight : site;
    shared.set(key, Math.max(shared.get(key) ?? 0, counts[i]!));
  }
  return [...shared.values()].reduce((sum, count) => sum + count, 0);
}

/** Defaults from the model's tables, where they name a place of this adapter. */
export function withModelDefaults(
  method: MethodDefinition,
  config: ResolvedConfig,
  tables: DefaultTargets,
  places: readonly Place[],
): ResolvedConfig {
  const open = Object.keys(method.modelDefaults ?? {}).filter((option) => config[option] === undefined);
  const found = open.flatMap((option): [string, readonly string[]][] => {
    const entries = (modelDefault(method, tables, option) ?? []).filter((entry) =>
      places.some(({ named }) => named([entry])),
    );
    return entries.length === 0 ? [] : [[option, entries]];
  });
  return { ...config, ...Object.fromEntries(found) };
}

/** A module that was chosen. */
export interface Match {
  readonly path: string;
  readonly module: Module;
}

/** What an adapter is put on. */
export interface AdapterMatches {
  /** Modules that the method adapts. */
  readonly targets: readonly (Match & { readonly values: Readonly<Record<string, number>> })[];
  /** Modules that are trained as a whole. */
  readonly modulesToSave: readonly Match[];
}

/** Where the methods hold on that a method's options ask for beside it. */
function companionPlaces(
  method: MethodDefinition,
  config: ResolvedConfig,
  { subject, tables }: { readonly subject: MatchSubject; readonly tables: DefaultTargets },
  { modulesToSave }: AdapterMatches,
): { companion: Companion; place: Place; module: Module }[] {
  return (method.companions?.(config) ?? []).flatMap((companion) => {
    const { method: other, option } = companion;
    const targetModules = companion.targets ?? modelDefault(other, tables, "targetModules") ?? [];
    const saved = modulesToSave.map(({ path }) => ({ exact: path }));
    const asked = { ...companion.config, targetModules, modulesToSave: saved };
    const report = adapterReport({ ...subject, heads: [] }, other, asked, false);
    // The option has no list of exclusions beside it.
    const renamed = (text: string): string =>
      text
        .replaceAll(/\btargetModules\b/g, option)
        .replace(/excludeModules: \[(.*)\]/, `leave $1 out of ${option}`);
    assertNoFaults({
      ...report,
      faults: report.faults.map((fault) => ({
        ...fault,
        summary: renamed(fault.summary),
        fixes: fault.fixes.map(renamed),
      })),
    });
    return report.targets.map((module) => ({
      companion,
      module: subject.moduleAt(module.name)!,
      place: placeAt(subject, module, other)!,
    }));
  });
}

/** Whether a path is one of the modules to save or stands below one. */
const isWithin = (path: string, roots: readonly Match[]): boolean =>
  roots.some((root) => path === root.path || path.startsWith(`${root.path}.`));

const isBias = (_module: Module, name: string): boolean => name === "bias";

/** Biases are saved as the base's own: below `base_layer` where the method holds on to the module. */
function biasNaming(adapted: boolean): CopyNaming {
  const at = (path: string, key: string): string =>
    `base_model.model.${path}.${adapted ? "base_layer." : ""}${key}`;
  return { saved: at, live: (path, key, adapter) => `${at(path, key)}.${adapter}` };
}

/** Modules whose bias is trained beside the adapter: all, or those that the method holds on to. */
function trainedBiases(root: Module, option: unknown, matches: AdapterMatches): Match[] {
  if (option === undefined || option === "none") return [];
  const all = [...namedModules(root)].map(([path, module]) => ({ path, module }));
  return (option === "all" ? all : matches.targets).filter(
    ({ path, module }) =>
      ownParameters(module).some(([name]) => name === "bias") && !isWithin(path, matches.modulesToSave),
  );
}

/** Puts a method at every matched module, and trained copies at the modules to save. */
export function attachAdapter(
  method: MethodDefinition,
  config: ResolvedConfig,
  matches: AdapterMatches,
  options: {
    readonly name: string;
    /** Seed of a new adapter; left out where its tensors come from a file. */
    readonly seed?: number;
    /** The model's `defaultTargets`. */
    readonly tables: DefaultTargets;
    readonly root: Module;
    readonly subject: MatchSubject;
    /** What a calibration found for the places, by path. */
    readonly found?: ReadonlyMap<string, unknown> | undefined;
    /** What was said before it is done, and is done. */
    readonly report: MatchReport;
  },
): AttachedAdapter {
  const { name, seed, tables, root, subject, report } = options;
  const places = report.targets.map((module) => placeAt(subject, module, method)!);
  const complete = withModelDefaults(method, config, tables, places);
  const common = new AdapterScope(name, seed, places, complete, options.found);
  const adapters = places.map((place, i) =>
    method.attach(
      place.site as never,
      { ...complete, ...matches.targets[i]!.values } as never,
      new SiteScope(common, place),
    ),
  );
  const companions = companionPlaces(method, complete, options, matches);
  const beside = companions.map(({ companion, place, module }): PlacedAttachment => {
    const scope = new SiteScope(common, place, companion);
    const adapter = companion.method.attach(place.site as never, companion.config as never, scope);
    return { path: place.path, module, attachment: { adapter: name, active: false, ...adapter } };
  });
  const attachments = matches.targets.map(({ path, module }, i): PlacedAttachment => {
    const attachment: Attachment = { adapter: name, active: false, ...adapters[i]! };
    module.attachments.push(attachment);
    // Where a part of a layer is added to the residual stream nothing is wrapped.
    if (places[i]!.site.kind === "block") return { path, module, attachment };
    return { path, module, attachment, wrapper: { path, infix: "base_layer" } };
  });
  for (const placed of beside) placed.module.attachments.push(placed.attachment);
  attachments.push(...beside);
  const { tensors, fixed, savedTensors, savedOptions, stepWork } = common;
  const tied = config["ensureWeightTying"] === true ? { tied: new Map<Parameter, Parameter>() } : {};
  for (const { path, module } of matches.modulesToSave) {
    const copies = attachCopies(path, module, { adapter: name, naming: MODULES_TO_SAVE, ...tied });
    attachments.push(...copies.attachments);
    for (const [key, parameter] of copies.tensors) tensors.set(key, parameter);
  }
  for (const { path, module } of trainedBiases(root, complete["bias"], matches)) {
    const adapted = matches.targets.some((target) => target.path === path);
    const copies = attachCopies(path, module, { adapter: name, naming: biasNaming(adapted), wanted: isBias });
    attachments.push(...copies.attachments);
    for (const [key, parameter] of copies.tensors) tensors.set(key, parameter);
  }
  const made = { tensors, fixed, savedTensors, savedOptions, stepWork };
  return { name, method, config: complete, report, places, ...made, attachments };
}
