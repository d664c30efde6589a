import { resolveAxis } from "../graph/broadcast.js";
import { ndArray, sizeOf } from "../graph/nd-array.js";
import { defineOp, type Op } from "./op.js";

export interface PadAttrs {
  readonly axis: number;
  readonly before: number;
  readonly after: number;
}

/** Zeros before and after, along an axis of known size. */
export const pad: Op<1, PadAttrs> = defineOp({
  name: "pad",
  arity: 1,
  infer([x], { axis, before, after }) {
    const at = resolveAxis(axis, x);
    return {
      dtype: x.dtype,
      shape: x.shape.map((dim, i) => (i === at && typeof dim === "number" ? before + dim + after : dim)),
    };
  },
  gradient: ({ f, dy, inputs: [x], attrs: { axis, before } }) => {
    const size = x.type.shape[resolveAxis(axis, x.type)] as number;
    return [f.slice(dy, { axis, start: before, end: before + size })];
  },
  lower({ emit, inputs: [x], types, type, attrs: { axis, before, after } }) {
    const at = resolveAxis(axis, types[0]);
    const rank = type.shape.length;
    const pads = Array.from({ length: 2 * rank }, (_, i) =>
      i === at ? before : i === at + rank ? after : 0,
    );
    return emit.node("Pad", [
      x,
      emit.constant("int64", [2 * rank], pads),
      emit.constant(type.dtype, [], [0]),
    ]);
  },
  evaluate([x], { axis, before, after }) {
    const at = axis < 0 ? axis + x.dims.length : axis;
    const inner = sizeOf(x.dims.slice(at + 1));
    const size = x.dims[at]!;
    const y = ndArray(x.dims.map((dim, i) => (i === at ? before + dim + after : dim)));
    x.data.forEach((value, index) => {
      const outer = Math.floor(index / inner / size);
      const position = Math.floor(index / inner) % size;
      y.data[(outer * (before + size + after) + before + position) * inner + (index % inner)] = value;
    });
    return y;
  },
  samples: [{ inputs: [{ shape: [2, 3, 2] }], attrs: { axis: 1, before: 1, after: 2 } }],
});
