import { Random } from "../base/random.js";
import { type Module, namedModules, ownParameters } from "../nn/module.js";
import type { Parameter } from "../nn/parameter.js";
import { RMSNorm } from "../nn/rms-norm.js";

function fillNormal(parameter: Parameter, deviation: number, random: Random): void {
  const data = parameter.allocate();
  for (let i = 0; i < data.length; i += 1) data[i] = deviation * random.normal();
}

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
      if (name === "bias") parameter.allocate();
      else if (parameter.shape.length > 1) fillNormal(parameter, options.deviation, random);
      else parameter.allocate().fill(module instanceof RMSNorm ? 1 - module.offset : 1);
    }
  }
}

/** The start of a new head: matrices normal, vectors zero. */
export function initialiseParameters(
  parameters: readonly Parameter[],
  options: { readonly seed: number; readonly deviation: number },
): void {
  const random = new Random(options.seed);
  for (const parameter of parameters) {
    if (parameter.shape.length > 1) fillNormal(parameter, options.deviation, random);
    else parameter.allocate();
  }
}
