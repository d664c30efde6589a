import { blockSteps } from "../steps/products.js";
import { ndArray } from "../graph/nd-array.js";
import type { Dim, TensorType } from "../base/tensor-type.js";
import { defineOp, type Op, shapeMismatch } from "./op.js";
import { roundBlocks } from "./packed-int8-matmul.js";

/** What is taken from a code. */
const CENTRE = 128;

function sizesOf(
  codes: TensorType,
  scales: TensorType,
): { readonly rows: Dim; readonly blocks: number; readonly blockSize: number } {
  const [rows, blocks, blockSize] = codes.shape;
  if (codes.dtype !== "uint8" || codes.shape.length !== 3 || scales.shape.join() !== [rows, blocks].join())
    throw shapeMismatch("byteMatmul", "takes uint8 codes (out, blocks, block) and scales (out, blocks)", [
      codes,
      scales,
    ]);
  return { rows: rows!, blocks: blocks as number, blockSize: blockSize as number };
}

/**
 * y = x Wᵀ with W in codes of 8 bits, W = scale (code − 128), and x rounded to 8 bits: every block of a row is divided by its largest
 * magnitude and rounded to 1/127 of it, so that the products of a block are whole numbers.
 *
 * Shapes: x (N, in), codes (out, in / b, b) uint8, scales (out, in / b) → (N, out); b is 16 or more and a power of two.
 */
export const byteMatmul: Op<3> = defineOp({
  name: "byteMatmul",
  arity: 3,
  infer([x, codes, scales]) {
    const { rows, blocks, blockSize } = sizesOf(codes, scales);
    if (x.shape.length !== 2 || x.shape[1] !== blocks * blockSize || x.dtype !== scales.dtype)
      throw shapeMismatch("byteMatmul", "x and the matrix do not fit", [x, codes, scales]);
    return { dtype: x.dtype, shape: [x.shape[0]!, rows] };
  },
  gradient: ({ f, dy, inputs: [x, codes, scales] }) => [
    () => {
      const { rows } = sizesOf(codes.type, scales.type);
      const steps = f.offset(f.cast(codes, { to: x.type.dtype }), { by: -CENTRE });
      const w = f.mul(steps, f.unsqueeze(scales, { axis: 2 }));
      return f.matmul(dy, f.reshape(w, { shape: [rows, x.type.shape[1]!] }), {});
    },
    undefined,
    undefined,
  ],
  lower({ emit, inputs, types }) {
    const { rows, blocks, blockSize } = sizesOf(types[1], types[2]);
    return emit.node("MatMulNBits", inputs, {
      domain: "com.microsoft",
      attributes: {
        K: blocks * blockSize,
        N: rows as number,
        bits: 8,
        block_size: blockSize,
        accuracy_level: 4,
      },
    });
  },
  steps: ({ emit, inputs }) => blockSteps(emit, inputs, 8),
  evaluate([x, codes, scales]) {
    const [rows, width] = x.dims as [number, number];
    const [out, , blockSize] = codes.dims as [number, number, number];
    const y = ndArray([rows, out]);
    for (let i = 0; i < rows; i += 1) {
      const row = roundBlocks(x.data.slice(i * width, (i + 1) * width) as Float64Array, blockSize);
      for (let j = 0; j < out; j += 1) {
        let sum = 0;
        for (let k = 0; k < width; k += 1) {
          const at = j * width + k;
          sum += row[k]! * (codes.data[at]! - CENTRE) * scales.data[Math.floor(at / blockSize)]!;
        }
        y.data[i * out + j] = sum;
      }
    }
    return y;
  },
  multiplies: "int8",
  rounds: true,
  samples: [
    {
      inputs: [
        { shape: [5, 64] },
        { shape: [3, 2, 32], kind: "index", below: 256, dtype: "uint8" },
        { shape: [3, 2], values: [0.01, -0.02, 0.005, 0.01, 0.003, 0.007] },
      ],
      attrs: {},
    },
    {
      inputs: [
        { shape: [1, 128] },
        { shape: [7, 2, 64], kind: "index", below: 256, dtype: "uint8" },
        { shape: [7, 2], values: Array.from({ length: 14 }, (_, i) => 0.01 * Math.cos(i)) },
      ],
      attrs: {},
    },
  ],
  float32Only: true,
  codes: true,
});
