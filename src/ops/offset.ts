import { unarySteps } from "../steps/elementwise.js";
import { unaryMap } from "../graph/nd-array.js";
import { defineOp, type Op } from "./op.js";

/** y = x + by, with a summand known when the graph is built. */
export const offset: Op<1, { readonly by: number }> = defineOp({
  name: "offset",
  arity: 1,
  infer: ([x]) => x,
  gradient: ({ dy }) => [dy],
  lower: ({ emit, inputs: [x], type, attrs }) =>
    emit.node("Add", [x, emit.constant(type.dtype, [], [attrs.by])]),
  steps: ({ emit, inputs: [x], attrs: { by } }) => unarySteps(emit, "offset", x, by),
  evaluate: ([x], { by }) => unaryMap(x, (v) => v + by),
  samples: [{ inputs: [{ shape: [2, 3] }], attrs: { by: 0.25 } }],
});
