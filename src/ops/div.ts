import { binarySteps } from "../steps/elementwise.js";
import { binaryMap } from "../graph/nd-array.js";
import { inferBroadcast } from "../graph/infer.js";
import { defineOp, type Op } from "./op.js";

/** y = a / b, with broadcasting. */
export const div: Op<2> = defineOp({
  name: "div",
  arity: 2,
  infer: (types) => inferBroadcast("div", types),
  gradient: ({ f, dy, inputs: [a, b] }) => [
    () => f.div(dy, b),
    () => f.neg(f.div(f.mul(dy, a), f.mul(b, b))),
  ],
  lower: ({ emit, inputs }) => emit.node("Div", inputs),
  steps: ({ emit, inputs, dims }) => binarySteps(emit, "div", inputs, dims),
  evaluate: ([a, b]) => binaryMap(a, b, (x, y) => x / y),
  samples: [
    { inputs: [{ shape: [2, 3] }, { shape: [2, 3], kind: "positive" }], attrs: {} },
    { inputs: [{ shape: [2, 1, 3] }, { shape: [4, 1], kind: "positive" }], attrs: {} },
    { inputs: [{ shape: [5, 2] }, { shape: [], kind: "positive" }], attrs: {} },
  ],
});
