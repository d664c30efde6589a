import type { ModuleFacts } from "../match/module-list.js";
import { Conv1D } from "../nn/conv1d.js";
import { Embedding } from "../nn/embedding.js";
import { Linear } from "../nn/linear.js";
import { type Module, namedModules, ownParameters } from "../nn/module.js";

/** The modules of a model as matching sees them. Weights are not read. */
export function moduleFacts(root: Module): ModuleFacts[] {
  const modules = [...namedModules(root)].filter(([path]) => path !== "");
  const totals = new Map<string, number>();
  for (const [path, module] of modules) {
    const own = ownParameters(module).reduce((sum, [, { size }]) => sum + size, 0);
    if (own === 0) continue;
    for (let end = path.length; end > 0; end = path.lastIndexOf(".", end - 1)) {
      const at = path.slice(0, end);
      totals.set(at, (totals.get(at) ?? 0) + own);
    }
  }
  return modules.map(([path, module]) => {
    const own = Object.fromEntries(ownParameters(module).map(([name, { shape }]) => [name, shape]));
    const { kind: type } = module;
    return { name: path, type, shape: own["weight"], own, parameters: totals.get(path) ?? 0 };
  });
}

/** A module without weights that stands for one of a list; undefined for kinds that no adapter holds on to. */
export function standIn({ type, shape }: ModuleFacts): Module | undefined {
  const [first, second] = shape ?? [];
  if (first === undefined || second === undefined || shape!.length !== 2) return undefined;
  if (type === "Linear" || type === "NonDynamicallyQuantizableLinear") return new Linear(second, first);
  if (type === "Conv1D") return new Conv1D(first, second);
  return type === "Embedding" ? new Embedding(first, second) : undefined;
}
