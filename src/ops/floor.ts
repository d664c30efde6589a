import { unaryMap } from "../graph/nd-array.js";
import { defineOp, type Op } from "./op.js";

/** y = ⌊x⌋; no gradient flows. */
export const floor: Op<1> = defineOp({
  name: "floor",
  arity: 1,
  infer: ([x]) => x,
  gradient: () => [undefined],
  lower: ({ emit, inputs }) => emit.node("Floor", inputs),
  evaluate: ([x]) => unaryMap(x, (v) => Math.floor(v)),
  samples: [{ inputs: [{ shape: [3, 4] }], attrs: {} }],
});
