import type { Parameter } from "../nn/parameter.js";

/** √Σ g² over all gradients. */
export function gradientNorm(parameters: Iterable<Parameter>): number {
  let square = 0;
  for (const { grad } of parameters) {
    if (grad === undefined) continue;
    for (let i = 0; i < grad.length; i += 1) square += grad[i]! * grad[i]!;
  }
  return Math.sqrt(square);
}

/**
 * Scales all gradients down together where their norm is above `maxNorm`.
 *
 * @returns the norm before.
 * @example
 * clipGradNorm(model.trainableParameters(), 1.0);
 */
export function clipGradNorm(parameters: Iterable<Parameter>, maxNorm: number): number {
  const list = [...parameters];
  const norm = gradientNorm(list);
  const factor = maxNorm / (norm + 1e-6);
  // A norm that is no number would spoil the gradients that are still good; the caller stops on it.
  if (factor >= 1 || !Number.isFinite(norm)) return norm;
  for (const { grad } of list) {
    if (grad === undefined) continue;
    for (let i = 0; i < grad.length; i += 1) grad[i]! *= factor;
  }
  return norm;
}
