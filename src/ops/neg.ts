import { unarySteps } from "../steps/elementwise.js";
import { unaryMap } from "../graph/nd-array.js";
import { defineOp, type Op } from "./op.js";

/** y = −x. */
export const neg: Op<1> = defineOp({
  name: "neg",
  arity: 1,
  infer: ([x]) => x,
  gradient: ({ f, dy }) => [f.neg(dy)],
  lower: ({ emit, inputs }) => emit.node("Neg", inputs),
  steps: ({ emit, inputs: [x] }) => unarySteps(emit, "scale", x, -1),
  evaluate: ([x]) => unaryMap(x, (v) => -v),
  samples: [{ inputs: [{ shape: [3, 4] }], attrs: {} }],
});
