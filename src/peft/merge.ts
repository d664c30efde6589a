import type { ForwardOptions, PretrainedModel } from "../auto/pretrained-model.js";
import { convertTensor } from "../auto/load-weights.js";
import { InternalError, NonFiniteError, UnsupportedError } from "../base/errors.js";
import { type HostTensor, zeros } from "../base/host-tensor.js";
import type { Value } from "../graph/value.js";
import {
  type Module,
  namedModules,
  nameTree,
  ownParameter,
  ownParameters,
  setOwnParameter,
} from "../nn/module.js";
import { Parameter } from "../nn/parameter.js";
import type { Attachment } from "../nn/site.js";
import { runBound } from "../nn/graph-runner.js";
import { type Source } from "../nn/token-program.js";
import { Trace } from "../nn/trace.js";
import type { AttachedAdapter } from "./adapter.js";

/** The graph of a module's own parameters with an adapter added to them, by name. */
function mergedValues(t: Trace, module: Module, attachment: Attachment): [name: string, value: Value][] {
  const p = (parameter: Parameter): Value => t.parameter(parameter);
  const turn = (name: string, x: Value): Value =>
    module.transposed.includes(name) ? t.f.transpose(x, { axes: [1, 0] }) : x;
  const own = (name: string): Value => turn(name, t.parameter(ownParameter(module, name)));
  const stored = ([name, value]: [string, Value]): [string, Value] => [name, turn(name, value)];
  const replaced = Object.entries(attachment.replaces ?? {}).map(([name, replace]): [string, Value] => [
    name,
    replace({ f: t.f, base: own(name), p }),
  ]);
  if (attachment.forward === undefined) return replaced.map(stored);
  if (attachment.merged === undefined) {
    throw new UnsupportedError({
      code: "cannot_merge",
      summary: `The adapter at ${module.path} cannot be merged: no weight does the same without it.`,
      fixes: ["keep base and adapter apart; they can be used together as they are"],
      fields: { path: module.path },
    });
  }
  return [...replaced, ...Object.entries(attachment.merged({ f: t.f, own, p }))].map(stored);
}

/** The merged parameters of one module, computed in float32 and not yet put in place. */
async function mergedParameters(
  base: PretrainedModel,
  module: Module,
  attachment: Attachment,
  options: ForwardOptions,
): Promise<[name: string, tensor: HostTensor][]> {
  const t = new Trace(false);
  const values = mergedValues(t, module, attachment);
  const leaves = [...t.leaves];
  const bound = {
    graph: {
      name: "merge",
      inputs: leaves.map(([value]) => value),
      outputs: values.map(([, value]) => value),
    },
    sources: leaves.map(([, leaf]): Source => leaf),
  };
  const results = values.map(([name]): [string, HostTensor] => [
    name,
    zeros("float32", ownParameter(module, name).shape),
  ]);
  const unresolved = (): never => {
    throw new InternalError("A merge asked for something that is no parameter.");
  };
  await runBound(
    base.runner.sessions,
    bound,
    unresolved,
    results.map(([, tensor]) => tensor),
    options,
  );
  for (const [name, tensor] of results) {
    if ((tensor.data as Float32Array).every((value) => Number.isFinite(value))) continue;
    throw new NonFiniteError({
      code: "merge_not_finite",
      summary: `The merged ${name} of ${module.path} is not finite. Nothing was merged.`,
      fixes: ["look at the adapter: peft inspect", "train with a lower learning rate or maxGradNorm: 1"],
      fields: { path: module.path, name },
    });
  }
  return results;
}

/**
 * Replaces the parameters of every adapted module by merged ones, rounded once from float32 to the type they are kept in. All
 * are computed before the first is put in place. A parameter that two modules share is taken apart first, so that merging into
 * one of them does not move the other.
 */
export async function mergeAdapter(
  base: PretrainedModel,
  adapter: AttachedAdapter,
  options: ForwardOptions = {},
): Promise<void> {
  const uses = new Map<Parameter, number>();
  const modules = new Map(namedModules(base.module));
  for (const module of modules.values())
    for (const [, parameter] of ownParameters(module)) uses.set(parameter, (uses.get(parameter) ?? 0) + 1);
  const merged: [module: Module, name: string, tensor: HostTensor][] = [];
  for (const [path, attachment] of adapter.attachments) {
    const module = modules.get(path)!;
    for (const [name, tensor] of await mergedParameters(base, module, attachment, options)) {
      merged.push([module, name, convertTensor(tensor, ownParameter(module, name).type.dtype)]);
    }
  }
  for (const [module, name, tensor] of merged) {
    const old = ownParameter(module, name);
    if (uses.get(old)! > 1) {
      uses.set(old, uses.get(old)! - 1);
      setOwnParameter(module, name, new Parameter(old.shape, { dtype: old.type.dtype }));
      base.configOverrides["tie_word_embeddings"] = false;
    }
    ownParameter(module, name).assign(tensor);
  }
  nameTree(base.module);
  base.structureChanged();
}
