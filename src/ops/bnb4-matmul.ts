import { ndArray } from "../graph/nd-array.js";
import type { Value } from "../graph/value.js";
import { type Bnb4Attrs, bnb4Unpack, checkBnb4 } from "./bnb4-unpack.js";
import { defineOp, type Op, shapeMismatch } from "./op.js";

/** The matrix, and how its gradient is computed where W can be had decoded. */
export interface Bnb4MatmulAttrs extends Bnb4Attrs {
  /** dL/dx (N, in) of dL/dy (N, out); without it W is decoded in the graph. */
  readonly inputGradient?: (dy: Value) => Value;
}

/**
 * y = x Wᵀ with W in codes of 4 bits as bitsandbytes keeps them: decoded by the kernel while it runs. The gradient needs W decoded: the
 * kernel's own form of x W answers x Wᵀ, without an error.
 *
 * Shapes: x (N, in), codes (⌈out · in / 2⌉) uint8, absmax (⌈out · in / block⌉) → (N, out); W is frozen.
 */
export const bnb4Matmul: Op<3, Bnb4MatmulAttrs> = defineOp({
  name: "bnb4Matmul",
  arity: 3,
  infer([x, codes, absmax], attrs) {
    checkBnb4("bnb4Matmul", codes, absmax, attrs);
    if (x.shape.length !== 2 || x.shape[1] !== attrs.width || x.dtype !== absmax.dtype)
      throw shapeMismatch("bnb4Matmul", `x is not (N, ${attrs.width})`, [x, codes, absmax]);
    return { dtype: x.dtype, shape: [x.shape[0]!, attrs.out] };
  },
  gradient: ({ f, dy, inputs: [, codes, absmax], attrs: { inputGradient, ...matrix } }) => [
    () => inputGradient?.(dy) ?? f.matmul(dy, f.bnb4Unpack(codes, absmax, matrix), {}),
    undefined,
    undefined,
  ],
  lower({ emit, inputs, attrs: { out, width, blockSize, quantType } }) {
    return emit.node("MatMulBnb4", inputs, {
      domain: "com.microsoft",
      attributes: { K: width, N: out, block_size: blockSize, quant_type: quantType === "nf4" ? 1 : 0 },
    });
  },
  evaluate([x, codes, absmax], attrs) {
    const w = bnb4Unpack.definition.evaluate([codes, absmax], attrs);
    const { out, width } = attrs;
    const y = ndArray([x.dims[0]!, out]);
    for (let i = 0; i < y.data.length; i += 1) {
      const [row, column] = [Math.floor(i / out), i % out];
      for (let k = 0; k < width; k += 1) y.data[i]! += x.data[row * width + k]! * w.data[column * width + k]!;
    }
    return y;
  },
  multiplies: "float32",
  samples: [
    {
      inputs: [
        { shape: [5, 128] },
        { shape: [192], kind: "index", below: 256, dtype: "uint8" },
        { shape: [6] },
      ],
      attrs: { out: 3, width: 128, blockSize: 64, quantType: "nf4" },
    },
    {
      inputs: [
        { shape: [1, 35] },
        { shape: [53], kind: "index", below: 256, dtype: "uint8" },
        { shape: [4] },
      ],
      attrs: { out: 3, width: 35, blockSize: 32, quantType: "fp4" },
    },
  ],
  float32Only: true,
});
