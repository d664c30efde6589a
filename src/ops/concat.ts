import { widthOf } from "../steps/cells.js";
import { NoSteps } from "../steps/emitter.js";
import { resolveAxis } from "../graph/broadcast.js";
import { ndArray, sizeOf } from "../graph/nd-array.js";
import { BYTES_PER_ELEMENT, type Dim } from "../base/tensor-type.js";
import { defineVariadicOp, shapeMismatch, type VariadicOp } from "./op.js";

export interface ConcatAttrs {
  readonly axis: number;
  /** The size along the axis where it is not the sum of known sizes. */
  readonly size?: Dim;
}

/** Values one after another along an axis; gradients need known sizes there. */
export const concat: VariadicOp<ConcatAttrs> = defineVariadicOp({
  name: "concat",
  arity: "variadic",
  infer(types, { axis, size }) {
    const first = types[0];
    if (first === undefined) throw shapeMismatch("concat", "there is nothing to put together", types);
    const at = resolveAxis(axis, first);
    const sizes = types.map((type) => type.shape[at]);
    const total = size ?? (sizes as number[]).reduce((a, b) => a + b, 0);
    if (size === undefined && sizes.some((dim) => typeof dim !== "number")) {
      throw shapeMismatch("concat", "a size along the axis has no number and no name was given", types);
    }
    return { dtype: first.dtype, shape: first.shape.map((dim, i) => (i === at ? total : dim)) };
  },
  gradient({ f, dy, inputs, attrs: { axis } }) {
    let start = 0;
    return inputs.map((x) => {
      const from = start;
      const size = x.type.shape[resolveAxis(axis, x.type)];
      if (typeof size !== "number") throw shapeMismatch("concat", "the gradient needs known sizes", [x.type]);
      start += size;
      return () => f.slice(dy, { axis, start: from, end: from + size });
    });
  },
  lower: ({ emit, inputs, attrs }) => emit.node("Concat", inputs, { attributes: { axis: attrs.axis } }),
  steps({ emit, inputs, dims, attrs: { axis } }) {
    if (axis !== -1 && axis !== dims.length - 1) throw new NoSteps("rows one below the other");
    const y = emit.cells(dims);
    let address = y.address;
    for (const x of inputs) {
      emit.copy(x, { ...y, address }, y.stride);
      address += widthOf(x) * BYTES_PER_ELEMENT[y.dtype];
    }
    return y;
  },
  evaluate(inputs, { axis }) {
    const first = inputs[0]!;
    const at = axis < 0 ? axis + first.dims.length : axis;
    const total = inputs.reduce((sum, x) => sum + x.dims[at]!, 0);
    const y = ndArray(first.dims.map((dim, i) => (i === at ? total : dim)));
    const inner = sizeOf(first.dims.slice(at + 1));
    const outer = sizeOf(first.dims.slice(0, at));
    let start = 0;
    for (const x of inputs) {
      const width = x.dims[at]! * inner;
      for (let o = 0; o < outer; o += 1) {
        y.data.set(x.data.subarray(o * width, (o + 1) * width), o * total * inner + start);
      }
      start += width;
    }
    return y;
  },
  samples: [
    { inputs: [{ shape: [2, 3] }, { shape: [2, 1] }], attrs: { axis: -1 } },
    { inputs: [{ shape: [1, 3] }, { shape: [2, 3] }, { shape: [2, 3] }], attrs: { axis: 0 } },
  ],
});
