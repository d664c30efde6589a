import { unaryMap } from "../graph/nd-array.js";
import { defineOp, type Op } from "./op.js";

/** y = √x. */
export const sqrt: Op<1> = defineOp({
  name: "sqrt",
  arity: 1,
  infer: ([x]) => x,
  gradient: ({ f, dy, y }) => [f.div(f.scale(dy, { by: 0.5 }), y)],
  lower: ({ emit, inputs }) => emit.node("Sqrt", inputs),
  evaluate: ([x]) => unaryMap(x, (v) => Math.sqrt(v)),
  samples: [{ inputs: [{ shape: [3, 4], kind: "positive" }], attrs: {} }],
});
