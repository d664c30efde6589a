import { Random } from "../base/random.js";
import { type Module, namedModules, ownParameters } from "../nn/module.js";
import type { Parameter } from "../nn/parameter.js";

/**
 * Random weights for a model that is trained from nothing: matrices normal with the given deviation, norms one, biases zero.
 * The same seed gives the same weights.
 */
export function initialiseWeights(
  root: Module,
  options: { readonly seed: number; readonly deviation: number },
): void {
  const random = new Random(options.seed);
  const seen = new Set<Parameter>();
  for (const [, module] of namedModules(root)) {
    for (const [name, parameter] of ownParameters(module)) {
      if (seen.has(parameter)) continue;
      seen.add(parameter);
      const data = parameter.allocate();
      if (name === "bias") continue;
      if (parameter.shape.length === 1) data.fill(1);
      else for (let i = 0; i < data.length; i += 1) data[i] = options.deviation * random.normal();
    }
  }
}
