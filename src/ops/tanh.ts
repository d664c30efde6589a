import { unarySteps } from "../steps/elementwise.js";
import { unaryMap } from "../graph/nd-array.js";
import { defineOp, type Op } from "./op.js";

/** y = tanh x. */
export const tanh: Op<1> = defineOp({
  name: "tanh",
  arity: 1,
  infer: ([x]) => x,
  // dx = dy ⊙ (1 − y²)
  gradient: ({ f, dy, y }) => [f.sub(dy, f.mul(dy, f.mul(y, y)))],
  lower: ({ emit, inputs }) => emit.node("Tanh", inputs),
  steps: ({ emit, inputs: [x] }) => unarySteps(emit, "tanh", x),
  evaluate: ([x]) => unaryMap(x, (v) => Math.tanh(v)),
  samples: [{ inputs: [{ shape: [3, 4] }], attrs: {} }],
});
