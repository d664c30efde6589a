import { isHalf } from "../steps/cells.js";
import { NoSteps } from "../steps/emitter.js";
import { type DType, ONNX_DTYPES } from "../base/tensor-type.js";
import { defineOp, type Op } from "./op.js";

/** The same numbers in another element type. */
export const cast: Op<1, { readonly to: DType }> = defineOp({
  name: "cast",
  arity: 1,
  infer: ([x], { to }) => ({ dtype: to, shape: x.shape }),
  gradient: ({ f, dy, inputs: [x] }) => [f.cast(dy, { to: x.type.dtype })],
  lower: ({ emit, inputs, attrs }) =>
    emit.node("Cast", inputs, { attributes: { to: ONNX_DTYPES[attrs.to] } }),
  steps({ inputs: [x], attrs: { to } }) {
    // Kernels that read weights of 16 bits make float32 of them on the way, and small tensors come as float32.
    if (x.dtype !== to && !(isHalf(x) && to === "float32")) throw new NoSteps(`from ${x.dtype} to ${to}`);
    return x;
  },
  evaluate: ([x]) => x,
  samples: [{ inputs: [{ shape: [2, 3] }], attrs: { to: "float64" } }],
});
