import type { PeftConfig } from "../methods/index.js";
import type { MethodDefinition } from "../methods/method.js";
import type { ModelDefinition } from "../models/model.js";
import { type Module, namedModules, nameTree } from "../nn/module.js";
import { declaredParameters, prepareConfig, withModelDefaults } from "./adapter.js";
import { adapterReport, matchSubject, needsTargets, placeAt } from "./adapter-report.js";
import { moduleFacts } from "./module-facts.js";

/**
 * How many parameters a method trains with its default options, from the module tree of a model alone: no weight is read.
 *
 * @throws {@link ConfigError} where the method needs options that have no default
 * @returns undefined where the model has no targets for it
 */
export function estimateParameters(
  method: MethodDefinition,
  model: { readonly definition: ModelDefinition; readonly module: Module; readonly name: string },
): number | undefined {
  const tables = model.definition.defaultTargets;
  const config = { peftType: method.name } as PeftConfig;
  const { resolved, target, isDefault } = prepareConfig(config, tables, { source: method.name });
  if (target === undefined && needsTargets(method)) return undefined;
  nameTree(model.module);
  const modules = new Map(namedModules(model.module));
  const facts = moduleFacts(model.module);
  const subject = matchSubject(model.name, facts, (at) => modules.get(at), [], model.module);
  const report = adapterReport(subject, method, resolved, isDefault);
  if (report.targets.length === 0) return undefined;
  const places = report.targets.map((module) => placeAt(subject, module, method)!);
  return declaredParameters(method, withModelDefaults(method, resolved, tables, places), places);
}
