import { broadcastShapes, sameShape } from "../graph/broadcast.js";
import { broadcastStrides, forEachPosition, ndArray } from "../graph/nd-array.js";
import { defineOp, type Op, shapeMismatch } from "./op.js";

/** x repeated to the shape of `like`, whose elements are not read. */
export const expandLike: Op<2> = defineOp({
  name: "expandLike",
  arity: 2,
  infer([x, like]) {
    const shape = broadcastShapes(x.shape, like.shape);
    if (shape === undefined || !sameShape(shape, like.shape)) {
      throw shapeMismatch("expandLike", "the first input does not broadcast to the second", [x, like]);
    }
    return { dtype: x.dtype, shape };
  },
  gradient: ({ dy }) => [dy, undefined],
  lower: ({ emit, inputs: [x, like] }) => emit.node("Expand", [x, emit.node("Shape", [like])]),
  evaluate([x, like]) {
    const y = ndArray(like.dims);
    forEachPosition(y.dims, [broadcastStrides(x.dims, y.dims.length)], (index, [at]) => {
      y.data[index] = x.data[at!]!;
    });
    return y;
  },
  samples: [{ inputs: [{ shape: [3, 1] }, { shape: [2, 3, 4] }], attrs: {} }],
});
