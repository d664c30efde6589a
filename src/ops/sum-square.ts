import { ndArray, rowsOf } from "../graph/nd-array.js";
import { defineOp, type Op } from "./op.js";

/** y = Σ x² over the last axis, which is kept with size 1. */
export const sumSquare: Op<1> = defineOp({
  name: "sumSquare",
  arity: 1,
  infer: ([x]) => ({ dtype: x.dtype, shape: [...x.shape.slice(0, -1), 1] }),
  gradient: ({ f, dy, inputs: [x] }) => [f.scale(f.mul(x, dy), { by: 2 })],
  lower: ({ emit, inputs: [x] }) => emit.node("ReduceSumSquare", [x, emit.constant("int64", [1], [-1])]),
  evaluate: ([x]) =>
    ndArray(
      [...x.dims.slice(0, -1), 1],
      Float64Array.from(rowsOf(x), (row) => row.reduce((total, v) => total + v * v, 0)),
    ),
  samples: [{ inputs: [{ shape: [3, 4] }], attrs: {} }],
});
