import { binarySteps } from "../steps/elementwise.js";
import { binaryMap } from "../graph/nd-array.js";
import { inferBroadcast } from "../graph/infer.js";
import { defineOp, type Op } from "./op.js";

/** y = a ⊙ b, with broadcasting. */
export const mul: Op<2> = defineOp({
  name: "mul",
  arity: 2,
  infer: (types) => inferBroadcast("mul", types),
  gradient: ({ f, dy, inputs: [a, b] }) => [() => f.mul(dy, b), () => f.mul(dy, a)],
  lower: ({ emit, inputs }) => emit.node("Mul", inputs),
  steps: ({ emit, inputs, dims }) => binarySteps(emit, "mul", inputs, dims),
  evaluate: ([a, b]) => binaryMap(a, b, (x, y) => x * y),
  samples: [
    { inputs: [{ shape: [2, 3] }, { shape: [2, 3] }], attrs: {} },
    { inputs: [{ shape: [2, 1, 3] }, { shape: [4, 1] }], attrs: {} },
    { inputs: [{ shape: [5, 2] }, { shape: [] }], attrs: {} },
  ],
});
