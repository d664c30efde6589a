import type { ModuleEntry, ModulePattern } from "../base/module-pattern.js";
import { buildReport } from "../match/build-report.js";
import { type ListedModule, listModules, type ModuleFacts } from "../match/module-list.js";
import { named } from "../match/named.js";
import { parameterPath } from "../match/parameters.js";
import type { MatchReport } from "../match/report.js";
import type { Ambiguous, MatchSettings } from "../match/report-settings.js";
import type { MethodDefinition, Place } from "../methods/method.js";
import { type Module, ownParameters, siteOf } from "../nn/module.js";
import type { ResolvedConfig } from "./attached-adapter.js";
import { tiedModules } from "./module-copies.js";

/** A model as matching sees it: its modules, and what an adapter would hold on to at each. */
export interface MatchSubject {
  readonly name: string;
  readonly modules: readonly ListedModule[];
  moduleAt(name: string): Module | undefined;
  /** Names of the heads of its task. */
  readonly heads: readonly string[];
  /** Its tree, where it is a model and no list. */
  readonly root: Module | undefined;
}

/** A subject from facts and the modules they are about. */
export function matchSubject(
  name: string,
  facts: readonly ModuleFacts[],
  moduleAt: (name: string) => Module | undefined,
  heads: readonly string[],
  root?: Module,
): MatchSubject {
  return { name, modules: listModules(facts), moduleAt, heads, root };
}

/** Whether a method has to be told which modules it adapts. */
export const needsTargets = (method: MethodDefinition): boolean =>
  method.everywhere !== true && Object.hasOwn(method.config, "targetModules");

const asNumber = (value: unknown): number | undefined => (typeof value === "number" ? value : undefined);

/** The place that a method would hold on to at a module, or at a parameter of it. */
export function placeAt(
  subject: MatchSubject,
  module: ListedModule & { readonly parameter?: string | undefined },
  { sites }: MethodDefinition,
): Place | undefined {
  const { name: path, parameter } = module;
  const own = subject.moduleAt(path);
  const site = own === undefined ? undefined : siteOf(own, sites);
  if (site === undefined) return undefined;
  if (parameter === undefined)
    return { path, site, named: (pattern: ModulePattern) => named(pattern, module) };
  // A site is about one matrix of its module.
  const weight = "weight" in site ? site.weight : undefined;
  const adapted = ownParameters(own!).some(([key, value]) => key === parameter && value === weight);
  if (!adapted) return undefined;
  const listed = { ...module, name: parameterPath(module) };
  return {
    path,
    site,
    parameter,
    named: (pattern: ModulePattern) => named(pattern, module) || named(pattern, listed),
  };
}

/** What a report needs to know of a method and its options. */
export function reportSettings(
  subject: MatchSubject,
  method: MethodDefinition,
  config: ResolvedConfig,
  defaultTargets: boolean,
): MatchSettings {
  const { name: model } = subject;
  return {
    model,
    method: method.name,
    targetModules: (config["targetModules"] ?? []) as ModulePattern,
    targetParameters: config["targetParameters"] as readonly ModuleEntry[] | undefined,
    defaultTargets,
    emptyTargets: !Object.hasOwn(method.config, "targetModules"),
    everywhere: method.everywhere === true && config["targetModules"] === undefined,
    tiedWith(module) {
      const own = subject.moduleAt(module);
      if (method.followsTies !== true || own === undefined || subject.root === undefined) return [];
      return tiedModules(subject.root, own).map(([path]) => path);
    },
    excludeModules: config["excludeModules"] as ModulePattern | undefined,
    modulesToSave: config["modulesToSave"] as ModulePattern | undefined,
    heads: subject.heads,
    layersToTransform: config["layersToTransform"] as number | readonly number[] | undefined,
    layersPattern: config["layersPattern"] as string | readonly string[] | undefined,
    patterns: Object.entries(method.patterns ?? {}).map(([option, replaces]) => [
      option,
      replaces,
      (config[option] ?? {}) as Readonly<Record<string, number>>,
    ]),
    ambiguous: config["ambiguous"] as Ambiguous | undefined,
    matching: config["matching"] === "hugging-face" ? "hugging-face" : "whole-names",
    supports(module, parameter) {
      const place = placeAt(subject, { ...module, parameter }, method);
      return place !== undefined && (method.holds?.(place.site, config) ?? true);
    },
    adapterAt(module, values) {
      const here = { ...config, ...values };
      const place = placeAt(subject, module, method);
      return {
        rank: asNumber(here["r"]),
        alpha: asNumber(here["loraAlpha"] ?? here["alpha"]),
        trained: place === undefined ? 0 : method.parameterCount(place, here),
      };
    },
  };
}

/** What a configuration does with a model. */
export function adapterReport(
  subject: MatchSubject,
  method: MethodDefinition,
  config: ResolvedConfig,
  defaultTargets: boolean,
): MatchReport {
  return buildReport(subject.modules, reportSettings(subject, method, config, defaultTargets));
}
