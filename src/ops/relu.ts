import { unarySteps } from "../steps/elementwise.js";
import { unaryMap } from "../graph/nd-array.js";
import { defineOp, type Op } from "./op.js";

/** y = max(x, 0). */
export const relu: Op<1> = defineOp({
  name: "relu",
  arity: 1,
  infer: ([x]) => x,
  gradient: ({ f, dy, inputs: [x] }) => [f.mul(dy, f.step(x))],
  lower: ({ emit, inputs }) => emit.node("Relu", inputs),
  steps: ({ emit, inputs: [x] }) => unarySteps(emit, "relu", x),
  evaluate: ([x]) => unaryMap(x, (v) => Math.max(v, 0)),
  samples: [{ inputs: [{ shape: [3, 5] }], attrs: {} }],
});
