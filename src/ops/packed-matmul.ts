import { blockSteps } from "../steps/products.js";
import { ndArray } from "../graph/nd-array.js";
import { defineOp, type Op, shapeMismatch } from "./op.js";
import { packedSizes, unpack } from "./unpack.js";

/**
 * y = x Wᵀ with W in codes of 4 bits, W = scale (code − 8): read as they are, block by block, so that no whole W exists where
 * codes and scales are constants of the graph.
 *
 * Shapes: x (N, in), codes (out, in / b, b / 2) uint8, scales (out, in / b) → (N, out); b is 16 or more and a power of two.
 */
export const packedMatmul: Op<3> = defineOp({
  name: "packedMatmul",
  arity: 3,
  infer([x, codes, scales]) {
    const { rows, blocks, blockSize } = packedSizes("packedMatmul", codes, scales);
    if (x.shape.length !== 2 || x.shape[1] !== blocks * blockSize || x.dtype !== scales.dtype)
      throw shapeMismatch("packedMatmul", "x and the matrix do not fit", [x, codes, scales]);
    return { dtype: x.dtype, shape: [x.shape[0]!, rows] };
  },
  gradient: ({ f, dy, inputs: [, codes, scales] }) => [
    () => f.matmul(dy, f.unpack(codes, scales), {}),
    undefined,
    undefined,
  ],
  lower({ emit, inputs, types }) {
    const { rows, blocks, blockSize } = packedSizes("packedMatmul", types[1], types[2]);
    return emit.node("MatMulNBits", inputs, {
      domain: "com.microsoft",
      attributes: { K: blocks * blockSize, N: rows as number, bits: 4, block_size: blockSize },
    });
  },
  steps: ({ emit, inputs }) => blockSteps(emit, inputs, 4),
  evaluate([x, codes, scales]) {
    const w = unpack.definition.evaluate([codes, scales], {});
    const [rows, width] = x.dims as [number, number];
    const [out] = w.dims as [number];
    const y = ndArray([rows, out]);
    for (let i = 0; i < rows; i += 1) {
      for (let j = 0; j < out; j += 1) {
        let sum = 0;
        for (let k = 0; k < width; k += 1) sum += x.data[i * width + k]! * w.data[j * width + k]!;
        y.data[i * out + j] = sum;
      }
    }
    return y;
  },
  multiplies: "float32",
  samples: [
    {
      inputs: [
        { shape: [5, 64] },
        { shape: [3, 2, 16], kind: "index", below: 256, dtype: "uint8" },
        { shape: [3, 2] },
      ],
      attrs: {},
    },
    {
      inputs: [
        { shape: [1, 32] },
        { shape: [7, 2, 8], kind: "index", below: 256, dtype: "uint8" },
        { shape: [7, 2] },
      ],
      attrs: {},
    },
  ],
  float32Only: true,
  codes: true,
});
