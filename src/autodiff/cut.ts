import { topologicalOrder, type Value } from "../graph/value.js";

/** What a backward graph takes from the forward pass. */
export interface Cut {
  /** Forward values that are kept between the two passes. */
  readonly saved: readonly Value[];
  /** Leaves the backward graph still reads: inputs and parameters of the forward graph, and gradients. */
  readonly leaves: readonly Value[];
}

/**
 * Decides where the backward graph stops and reads a saved value instead of computing it again.
 *
 * @param outputs - the gradients to compute.
 * @param forward - the values that the forward pass computes.
 * @param save - whether a forward value is worth keeping.
 */
export function cutBackward(
  outputs: readonly Value[],
  forward: ReadonlySet<Value>,
  save: (value: Value) => boolean,
): Cut {
  const saved = new Set<Value>();
  const leaves = new Set<Value>();
  const seen = new Set<Value>();
  const stack = [...outputs];
  while (stack.length > 0) {
    const value = stack.pop()!;
    if (seen.has(value)) continue;
    seen.add(value);
    if (value.node === undefined) leaves.add(value);
    else if (forward.has(value) && save(value)) saved.add(value);
    else stack.push(...value.node.inputs);
  }
  const byId = (a: Value, b: Value): number => a.id - b.id;
  return { saved: [...saved].sort(byId), leaves: [...leaves].sort(byId) };
}

/** Every value that computing `outputs` from `inputs` passes through. */
export function forwardValues(inputs: readonly Value[], outputs: readonly Value[]): Set<Value> {
  return new Set(topologicalOrder({ inputs, outputs }));
}
