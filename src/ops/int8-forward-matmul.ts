import type { Value } from "../graph/value.js";
import { evaluateInt8, fitsInt8, lowerInt8 } from "./int8-matmul.js";
import { defineOp, type Op, shapeMismatch } from "./op.js";

/** How the gradient is computed where W can be had as it was before it was rounded. */
export interface Int8ForwardAttrs {
  /** dL/dx (N, in) of dL/dy (N, out); without it that of the rounded W. */
  readonly inputGradient?: (dy: Value) => Value;
}

/**
 * y = x W in whole numbers of 8 bits as `int8Matmul`, with a gradient in floats, for a product whose dL/dy would not bear rounding.
 *
 * Shapes: x (N, in), codes (in, out) int8, scales (out) → (N, out). W is frozen.
 */
export const int8ForwardMatmul: Op<3, Int8ForwardAttrs> = defineOp({
  name: "int8ForwardMatmul",
  arity: 3,
  infer([x, codes, scales]) {
    if (!fitsInt8(x, codes, scales))
      throw shapeMismatch("int8ForwardMatmul", "x, the codes and their scales do not fit", [
        x,
        codes,
        scales,
      ]);
    return { dtype: x.dtype, shape: [x.shape[0]!, codes.shape[1]!] };
  },
  gradient: ({ f, dy, inputs: [x, codes, scales], attrs: { inputGradient } }) => [
    () =>
      inputGradient?.(dy) ??
      f.matmul(f.mul(dy, scales), f.cast(codes, { to: x.type.dtype }), { transposeB: true }),
    undefined,
    undefined,
  ],
  lower: ({ emit, inputs: [x, codes, scales] }) => lowerInt8(emit, x, codes, scales),
  evaluate: ([x, codes, scales]) => evaluateInt8(x, codes, scales),
  multiplies: "int8",
  // Codes up to 64, which every processor adds exactly.
  samples: [
    {
      inputs: [
        { shape: [3, 8] },
        { shape: [8, 5], kind: "index", below: 65, dtype: "int8" },
        { shape: [5], kind: "uniform" },
      ],
      attrs: {},
    },
  ],
  float32Only: true,
  rounds: true,
});
