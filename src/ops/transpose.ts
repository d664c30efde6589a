import { broadcastStrides, forEachPosition, ndArray } from "../graph/nd-array.js";
import { defineOp, type Op } from "./op.js";

/** Axes in another order: axis i of y is axis axes[i] of x. */
export const transpose: Op<1, { readonly axes: readonly number[] }> = defineOp({
  name: "transpose",
  arity: 1,
  infer: ([x], { axes }) => ({ dtype: x.dtype, shape: axes.map((axis) => x.shape[axis]!) }),
  gradient: ({ f, dy, attrs: { axes } }) => [
    f.transpose(dy, { axes: axes.map((_, axis) => axes.indexOf(axis)) }),
  ],
  lower: ({ emit, inputs, attrs }) => emit.node("Transpose", inputs, { attributes: { perm: attrs.axes } }),
  evaluate([x], { axes }) {
    const y = ndArray(axes.map((axis) => x.dims[axis]!));
    const strides = broadcastStrides(x.dims, x.dims.length);
    forEachPosition(y.dims, [axes.map((axis) => strides[axis]!)], (index, [at]) => {
      y.data[index] = x.data[at!]!;
    });
    return y;
  },
  samples: [{ inputs: [{ shape: [2, 3, 4] }], attrs: { axes: [1, 2, 0] } }],
});
