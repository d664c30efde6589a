import { unaryMap } from "../graph/nd-array.js";
import { defineOp, type Op } from "./op.js";

/** y = 1 where x > 0, else 0; no gradient flows. */
export const step: Op<1> = defineOp({
  name: "step",
  arity: 1,
  infer: ([x]) => x,
  gradient: () => [undefined],
  lower: ({ emit, inputs: [x], type }) =>
    emit.node("Cast", [emit.node("Greater", [x, emit.constant(type.dtype, [], [0])])], {
      attributes: { to: type.dtype === "float64" ? 11 : 1 },
    }),
  evaluate: ([x]) => unaryMap(x, (v) => (v > 0 ? 1 : 0)),
  samples: [{ inputs: [{ shape: [3, 5] }], attrs: {} }],
});
