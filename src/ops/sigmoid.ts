import { unarySteps } from "../steps/elementwise.js";
import { unaryMap } from "../graph/nd-array.js";
import { defineOp, type Op } from "./op.js";

/** y = 1 / (1 + e⁻ˣ). */
export const sigmoid: Op<1> = defineOp({
  name: "sigmoid",
  arity: 1,
  infer: ([x]) => x,
  gradient: ({ f, dy, y }) => [f.mul(dy, f.sub(y, f.mul(y, y)))],
  lower: ({ emit, inputs }) => emit.node("Sigmoid", inputs),
  steps: ({ emit, inputs: [x] }) => unarySteps(emit, "sigmoid", x),
  evaluate: ([x]) => unaryMap(x, (v) => 1 / (1 + Math.exp(-v))),
  samples: [{ inputs: [{ shape: [3, 4] }], attrs: {} }],
});
