import { unaryMap } from "../graph/nd-array.js";
import { defineOp, type Op } from "./op.js";

/** y = ln x. */
export const log: Op<1> = defineOp({
  name: "log",
  arity: 1,
  infer: ([x]) => x,
  gradient: ({ f, dy, inputs: [x] }) => [f.div(dy, x)],
  lower: ({ emit, inputs }) => emit.node("Log", inputs),
  evaluate: ([x]) => unaryMap(x, (v) => Math.log(v)),
  samples: [{ inputs: [{ shape: [3, 4], kind: "positive" }], attrs: {} }],
});
