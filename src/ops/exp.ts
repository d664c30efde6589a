import { unarySteps } from "../steps/elementwise.js";
import { unaryMap } from "../graph/nd-array.js";
import { defineOp, type Op } from "./op.js";

/** y = eˣ. */
export const exp: Op<1> = defineOp({
  name: "exp",
  arity: 1,
  infer: ([x]) => x,
  gradient: ({ f, dy, y }) => [f.mul(dy, y)],
  lower: ({ emit, inputs }) => emit.node("Exp", inputs),
  steps: ({ emit, inputs: [x] }) => unarySteps(emit, "exp", x),
  evaluate: ([x]) => unaryMap(x, (v) => Math.exp(v)),
  samples: [{ inputs: [{ shape: [3, 4] }], attrs: {} }],
});
