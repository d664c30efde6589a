import { defineOp, type Op } from "./op.js";

/** Inserts an axis of size 1. */
export const unsqueeze: Op<1, { readonly axis: number }> = defineOp({
  name: "unsqueeze",
  arity: 1,
  infer: ([x], { axis }) => ({
    dtype: x.dtype,
    shape: [...x.shape.slice(0, axis), 1, ...x.shape.slice(axis)],
  }),
  gradient: ({ f, dy, attrs: { axis } }) => [f.sum(dy, { axis })],
  lower: ({ emit, inputs: [x], attrs }) =>
    emit.node("Unsqueeze", [x, emit.constant("int64", [1], [attrs.axis])]),
  evaluate: ([x], { axis }) => ({ dims: [...x.dims.slice(0, axis), 1, ...x.dims.slice(axis)], data: x.data }),
  samples: [{ inputs: [{ shape: [2, 3] }], attrs: { axis: 1 } }],
});
