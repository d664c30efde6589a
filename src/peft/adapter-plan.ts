import type { PretrainedModel } from "../auto/pretrained-model.js";
import { ConfigError } from "../base/errors.js";
import type { PeftConfig } from "../methods/index.js";
import type { MethodDefinition } from "../methods/method.js";
import { type Module, namedModules } from "../nn/module.js";
import { type AdapterMatches, prepareConfig } from "./adapter.js";
import type { ResolvedConfig } from "./attached-adapter.js";
import {
  checkTying,
  entriesOf,
  type Match,
  matchModules,
  matchModulesToSave,
  type ModulePattern,
  withTied,
} from "./match.js";
import { HEAD_NAMES } from "./head-names.js";
import { tiedModules } from "./module-copies.js";

/** A warning that does not stop the work. */
export interface PeftWarning {
  readonly code: string;
  readonly text: string;
}

/** What attaching a configuration will do. */
export interface AdapterPlan {
  readonly method: MethodDefinition;
  readonly config: ResolvedConfig;
  readonly matches: AdapterMatches;
  readonly warnings: readonly PeftWarning[];
}

/** A copy of a tied module is trained apart from what it was tied to. */
function tieWarnings(root: Module, modulesToSave: readonly Match[], canTie: boolean): PeftWarning[] {
  return modulesToSave.flatMap(({ path, module }) => {
    const others = tiedModules(root, module)
      .map(([other]) => other)
      .filter((other) => !modulesToSave.some((match) => match.path === other));
    if (others.length === 0) return [];
    const rest = others.join(" and ");
    const both = canTie ? " To train them as one: ensureWeightTying: true." : "";
    const text =
      `${path} shares its weight with ${rest}. Its copy is trained alone: ${rest} stays as it is, ` +
      `and a merged model keeps two weights.${both}`;
    return [{ code: "tied_module_saved", text }];
  });
}

/** A rank above the size of a layer adds no expressive power; Python takes it, so it is no error. */
function rankWarnings(r: unknown, targets: readonly Match[]): PeftWarning[] {
  if (typeof r !== "number") return [];
  const small = targets.filter(({ module }) => {
    const weight = module.site()?.weight;
    return weight !== undefined && Math.min(...weight.shape) < r;
  });
  if (small.length === 0) return [];
  const text = `r: ${r} is larger than the smaller side of ${small.length} of the target modules, such as ${small[0]!.path}.`;
  return [{ code: "rank_too_large", text }];
}

/** The heads that the task of a model asks for, where the model has them. */
function headsOf(base: PretrainedModel): string[] {
  const names = new Set([...namedModules(base.module)].map(([path]) => path));
  return HEAD_NAMES[base.taskType].filter((name) => names.has(name));
}

/**
 * Reads a configuration and finds its modules; nothing is attached yet.
 *
 * @throws {@link ConfigError} for options, {@link TargetError} for modules
 */
export function planAdapter(base: PretrainedModel, config: PeftConfig): AdapterPlan {
  const { definition, module, name } = base;
  const from = { source: config.peftType };
  const { method, resolved, target } = prepareConfig(config, definition.defaultTargets, from);
  if (target === undefined && method.everywhere !== true) {
    throw new ConfigError({
      code: "target_unspecified",
      summary: `${method.name} has no default targets for model_type ${definition.modelType}.`,
      fixes: ['targetModules: ["..."]'],
      fields: { method: method.name, modelType: definition.modelType },
    });
  }
  const entries = new Set([...entriesOf(resolved["modulesToSave"]), ...headsOf(base)]);
  const tying = resolved["ensureWeightTying"] === true;
  const modulesToSave = withTied(module, matchModulesToSave(module, [...entries], name), tying);
  const targets = matchModules(module, {
    model: name,
    target,
    exclude: resolved["excludeModules"] as ModulePattern | undefined,
    modulesToSave,
    sites: method.sites,
    followsTies: method.followsTies === true,
    head: "lm_head",
  });
  checkTying(module, targets, tying);
  const saved = entries.size === 0 ? undefined : modulesToSave.map(({ path }) => path);
  const canTie = Object.hasOwn(method.config, "ensureWeightTying");
  return {
    method,
    config: { ...resolved, modulesToSave: saved },
    matches: { targets, modulesToSave },
    warnings: [
      ...(tying ? [] : tieWarnings(module, modulesToSave, canTie)),
      ...(method.lowRank === true ? rankWarnings(resolved["r"], targets) : []),
    ],
  };
}
