import { InternalError } from "../base/errors.js";
import { Parameter } from "./parameter.js";
import type { Attachment, Block, ModuleSite, Site, SiteKind } from "./site.js";

/**
 * A part of a model. Its children are its attributes: modules, lists of modules and parameters, under the names that
 * checkpoints use.
 */
export abstract class Module {
  /** Path from the root of the model, such as `model.layers.0.self_attn.q_proj`. */
  path = "";
  /** What adapters have put here, in the order they came. */
  attachments: Attachment[] = [];
  /** Set by the model where the module's result goes into the residual stream. */
  joins: Block | undefined;
  /** The class name that Hugging Face shows for such a module. */
  abstract readonly kind: string;

  /** Own parameters that are kept transposed: adapters read, replace and merge them as (out, in). */
  readonly transposed: readonly string[] = [];

  /** Where an adapter can hold on to this module, if it can. */
  site(): ModuleSite | undefined {
    return undefined;
  }
}

/** Child modules by attribute name; lists give `layers.0`, `layers.1` … */
export function childModules(module: Module): [name: string, child: Module][] {
  const children: [string, Module][] = [];
  for (const [name, value] of Object.entries(module)) {
    if (value instanceof Module) children.push([name, value]);
    if (!Array.isArray(value) || name === "attachments") continue;
    for (const [i, item] of value.entries())
      if (item instanceof Module) children.push([`${name}.${i}`, item]);
  }
  return children;
}

/** A module and everything below it, parents first. */
export function* namedModules(module: Module, path = ""): Generator<[path: string, module: Module]> {
  yield [path, module];
  for (const [name, child] of childModules(module))
    yield* namedModules(child, path === "" ? name : `${path}.${name}`);
}

/** The parameters that are a module's own attributes. */
export function ownParameters(module: Module): [name: string, parameter: Parameter][] {
  return Object.entries(module).filter(
    (entry): entry is [string, Parameter] => entry[1] instanceof Parameter,
  );
}

/** The parameter that a module has under an attribute name. */
export function ownParameter(module: Module, name: string): Parameter {
  const parameter = (module as unknown as Record<string, unknown>)[name];
  if (parameter instanceof Parameter) return parameter;
  throw new InternalError(`${module.path || module.kind} has no parameter called ${name}.`);
}

/** Puts another parameter in the place of one that a module has. */
export function setOwnParameter(module: Module, name: string, parameter: Parameter): void {
  (module as unknown as Record<string, Parameter>)[name] = parameter;
}

/** Every parameter once, under the first name it is found by. */
export function* namedParameters(root: Module): Generator<[name: string, parameter: Parameter]> {
  const seen = new Set<Parameter>();
  for (const [path, module] of namedModules(root)) {
    for (const [name, parameter] of ownParameters(module)) {
      if (seen.has(parameter)) continue;
      seen.add(parameter);
      yield [path === "" ? name : `${path}.${name}`, parameter];
    }
  }
}

/** Writes paths into modules and names into parameters. */
export function nameTree(root: Module): void {
  for (const [path, module] of namedModules(root)) module.path = path;
  for (const [name, parameter] of namedParameters(root)) parameter.name = name;
}

/** The place that a module offers to adapters that hold on to places of these kinds. */
export function siteOf(module: Module, kinds: readonly SiteKind[]): Site | undefined {
  const own = module.site();
  if (own !== undefined && kinds.includes(own.kind)) return own;
  if (kinds.includes("block") && module.joins !== undefined)
    return { kind: "block", module, ...module.joins };
  const parameters = new Map(ownParameters(module));
  if (kinds.includes("module") && parameters.size > 0) return { kind: "module", module, parameters };
  const bias = parameters.get("bias");
  if (kinds.includes("bias") && bias !== undefined) return { kind: "bias", module, bias };
  return undefined;
}
