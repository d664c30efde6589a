import { binarySteps } from "../steps/elementwise.js";
import { binaryMap } from "../graph/nd-array.js";
import { inferBroadcast } from "../graph/infer.js";
import { defineOp, type Op } from "./op.js";

/** y = a + b, with broadcasting. */
export const add: Op<2> = defineOp({
  name: "add",
  arity: 2,
  infer: (types) => inferBroadcast("add", types),
  gradient: ({ dy }) => [dy, dy],
  lower: ({ emit, inputs }) => emit.node("Add", inputs),
  steps: ({ emit, inputs, dims }) => binarySteps(emit, "add", inputs, dims),
  evaluate: ([a, b]) => binaryMap(a, b, (x, y) => x + y),
  samples: [
    { inputs: [{ shape: [2, 3] }, { shape: [2, 3] }], attrs: {} },
    { inputs: [{ shape: [2, 1, 3] }, { shape: [4, 1] }], attrs: {} },
    { inputs: [{ shape: [5, 2] }, { shape: [] }], attrs: {} },
  ],
});
