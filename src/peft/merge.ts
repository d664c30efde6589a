import type { CausalLanguageModel, ForwardOptions } from "../auto/causal-language-model.js";
import { convertTensor } from "../auto/load-weights.js";
import { NonFiniteError, UnsupportedError } from "../base/errors.js";
import { type HostTensor, zeros } from "../base/host-tensor.js";
import { nameTree } from "../nn/module.js";
import { Parameter } from "../nn/parameter.js";
import type { Attachment } from "../nn/site.js";
import { runBound } from "../nn/graph-runner.js";
import { type Source } from "../nn/token-program.js";
import { Trace } from "../nn/trace.js";
import type { AttachedAdapter } from "./adapter.js";

/** The merged weight of one module, computed in float32 and not yet put in place. */
async function mergedWeight(
  base: CausalLanguageModel,
  weight: Parameter,
  attachment: Attachment,
  path: string,
  options: ForwardOptions,
): Promise<HostTensor> {
  if (attachment.merged === undefined) {
    throw new UnsupportedError({
      code: "cannot_merge",
      summary: `The adapter at ${path} cannot be merged: no weight does the same without it.`,
      fixes: ["keep base and adapter apart; they can be used together as they are"],
      fields: { path },
    });
  }
  const t = new Trace(false);
  const result = attachment.merged({
    f: t.f,
    weight: t.parameter(weight),
    p: (parameter) => t.parameter(parameter),
  });
  const leaves = [...t.leaves];
  const bound = {
    graph: { name: "merge", inputs: leaves.map(([value]) => value), outputs: [result] },
    sources: leaves.map(([, leaf]): Source => leaf),
  };
  const out = zeros("float32", weight.shape);
  await runBound(base.runner.sessions, bound, () => out, [out], options);
  if ((out.data as Float32Array).every((value) => Number.isFinite(value))) return out;
  throw new NonFiniteError({
    code: "merge_not_finite",
    summary: `The merged weight of ${path} is not finite. Nothing was merged.`,
    fixes: ["look at the adapter: peft inspect", "train with a lower learning rate or maxGradNorm: 1"],
    fields: { path },
  });
}

/**
 * Replaces the weight of every adapted module by W + ΔW, rounded once from float32 to the type the weight is kept in. All
 * are computed before the first is put in place. A weight that two modules share is taken apart first, so that merging into
 * one of them does not move the other.
 */
export async function mergeAdapter(
  base: CausalLanguageModel,
  adapter: AttachedAdapter,
  options: ForwardOptions = {},
): Promise<void> {
  const modules = new Map([...base.modules()].map((module) => [module.path, module]));
  const uses = new Map<Parameter, number>();
  for (const module of modules.values()) {
    const weight = module.site()?.weight;
    if (weight !== undefined) uses.set(weight, (uses.get(weight) ?? 0) + 1);
  }
  const merged: [path: string, tensor: HostTensor][] = [];
  for (const [path, attachment] of adapter.attachments) {
    const { weight } = modules.get(path)!.site()!;
    const tensor = await mergedWeight(base, weight, attachment, path, options);
    merged.push([path, convertTensor(tensor, weight.type.dtype)]);
  }
  for (const [path, tensor] of merged) {
    const module = modules.get(path)! as unknown as { weight: Parameter };
    const old = module.weight;
    if (uses.get(old)! > 1) {
      uses.set(old, uses.get(old)! - 1);
      module.weight = new Parameter(old.shape, { dtype: old.type.dtype });
      base.configOverrides["tie_word_embeddings"] = false;
    }
    module.weight.assign(tensor);
  }
  nameTree(base.module);
  base.structureChanged();
}
