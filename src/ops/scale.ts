import { unarySteps } from "../steps/elementwise.js";
import { unaryMap } from "../graph/nd-array.js";
import { defineOp, type Op } from "./op.js";

/** y = by · x, with a factor known when the graph is built. */
export const scale: Op<1, { readonly by: number }> = defineOp({
  name: "scale",
  arity: 1,
  infer: ([x]) => x,
  gradient: ({ f, dy, attrs }) => [f.scale(dy, attrs)],
  lower: ({ emit, inputs: [x], type, attrs }) =>
    emit.node("Mul", [x, emit.constant(type.dtype, [], [attrs.by])]),
  steps: ({ emit, inputs: [x], attrs: { by } }) => unarySteps(emit, "scale", x, by),
  evaluate: ([x], { by }) => unaryMap(x, (v) => by * v),
  samples: [{ inputs: [{ shape: [2, 3] }], attrs: { by: -1.5 } }],
});
