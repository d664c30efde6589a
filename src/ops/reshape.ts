import type { Dim, TensorType } from "../base/tensor-type.js";
import { defineOp, type Op, shapeMismatch } from "./op.js";

/** The target sizes for ONNX: 0 keeps the input's size at that place, one −1 is worked out by the runtime. */
function targetSizes(from: TensorType, to: readonly Dim[]): number[] {
  let open = 0;
  const sizes = to.map((dim, axis) => {
    if (typeof dim === "number") return dim;
    if (from.shape[axis] === dim) return 0;
    open += 1;
    return -1;
  });
  if (open > 1) throw shapeMismatch("reshape", `more than one size of (${to.join(", ")}) is unknown`, [from]);
  return sizes;
}

/** The same elements in another shape. One named size may be new; it is worked out when the graph runs. */
export const reshape: Op<1, { readonly shape: readonly Dim[] }> = defineOp({
  name: "reshape",
  arity: 1,
  infer([x], { shape }) {
    targetSizes(x, shape);
    const known = (dims: readonly Dim[]): number | undefined =>
      dims.every((dim) => typeof dim === "number")
        ? (dims as number[]).reduce((a, b) => a * b, 1)
        : undefined;
    const [from, to] = [known(x.shape), known(shape)];
    if (from !== undefined && to !== undefined && from !== to) {
      throw shapeMismatch("reshape", `${from} elements do not fill (${shape.join(", ")})`, [x]);
    }
    return { dtype: x.dtype, shape };
  },
  gradient: ({ f, dy, inputs: [x] }) => [f.reshape(dy, { shape: x.type.shape })],
  lower: ({ emit, inputs: [x], types: [from], attrs: { shape } }) =>
    emit.node("Reshape", [x, emit.constant("int64", [shape.length], targetSizes(from, shape))]),
  steps({ emit, inputs: [x], dims }) {
    const dense = emit.dense(x);
    return { ...dense, dims, stride: dims.at(-1) ?? 1 };
  },
  evaluate: ([x], { shape }) => ({ dims: shape as readonly number[], data: x.data }),
  samples: [{ inputs: [{ shape: [2, 6] }], attrs: { shape: [2, 3, 2] } }],
});
