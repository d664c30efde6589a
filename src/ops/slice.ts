import { NoSteps } from "../steps/emitter.js";
import { BYTES_PER_ELEMENT } from "../base/tensor-type.js";
import { resolveAxis } from "../graph/broadcast.js";
import { sizeOf } from "../graph/nd-array.js";
import { defineOp, type Op, shapeMismatch } from "./op.js";

export interface SliceAttrs {
  readonly axis: number;
  readonly start: number;
  readonly end: number;
}

/** Elements start … end − 1 along an axis of known size. */
export const slice: Op<1, SliceAttrs> = defineOp({
  name: "slice",
  arity: 1,
  infer([x], { axis, start, end }) {
    const at = resolveAxis(axis, x);
    const size = x.shape[at];
    if (typeof size !== "number" || start < 0 || end > size || start >= end) {
      throw shapeMismatch("slice", `${start} … ${end} is outside axis ${axis}`, [x]);
    }
    return { dtype: x.dtype, shape: x.shape.map((dim, i) => (i === at ? end - start : dim)) };
  },
  gradient: ({ f, dy, inputs: [x], attrs: { axis, start, end } }) => {
    const size = x.type.shape[resolveAxis(axis, x.type)] as number;
    return [f.pad(dy, { axis, before: start, after: size - end })];
  },
  lower: ({ emit, inputs: [x], attrs: { axis, start, end } }) =>
    emit.node("Slice", [x, ...[start, end, axis].map((value) => emit.constant("int64", [1], [value]))]),
  steps({ inputs: [x], dims, attrs: { axis, start } }) {
    const elements = BYTES_PER_ELEMENT[x.dtype];
    if (axis === -1 || axis === x.dims.length - 1)
      return { ...x, dims, address: x.address + start * elements };
    if (x.dims.length !== 2) throw new NoSteps("a slice of more than two axes");
    return { ...x, dims, address: x.address + start * x.stride * elements };
  },
  evaluate([x], { axis, start, end }) {
    const at = axis < 0 ? axis + x.dims.length : axis;
    const inner = sizeOf(x.dims.slice(at + 1));
    const size = x.dims[at]!;
    const dims = x.dims.map((dim, i) => (i === at ? end - start : dim));
    const data = x.data.filter((_, index) => {
      const position = Math.floor(index / inner) % size;
      return position >= start && position < end;
    });
    return { dims, data };
  },
  samples: [
    { inputs: [{ shape: [3, 4] }], attrs: { axis: -1, start: 1, end: 3 } },
    { inputs: [{ shape: [3, 4, 2] }], attrs: { axis: 1, start: 0, end: 2 } },
  ],
});
