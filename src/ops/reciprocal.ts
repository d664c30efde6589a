import { unaryMap } from "../graph/nd-array.js";
import { defineOp, type Op } from "./op.js";

/** y = 1 / x. */
export const reciprocal: Op<1> = defineOp({
  name: "reciprocal",
  arity: 1,
  infer: ([x]) => x,
  gradient: ({ f, dy, y }) => [f.neg(f.mul(dy, f.mul(y, y)))],
  lower: ({ emit, inputs }) => emit.node("Reciprocal", inputs),
  evaluate: ([x]) => unaryMap(x, (v) => 1 / v),
  samples: [{ inputs: [{ shape: [3, 4], kind: "positive" }], attrs: {} }],
});
