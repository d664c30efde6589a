import { ndArray } from "../graph/nd-array.js";
import { roundHalfEven } from "./int8-matmul.js";
import { defineOp, type Op } from "./op.js";
import { packedMatmul } from "./packed-matmul.js";
import { packedSizes, unpack } from "./unpack.js";

const { definition } = packedMatmul;

/** Codes of x reach from −127 to 127. */
const LARGEST = 127;

/** A row with every block divided by its largest magnitude and rounded to 1/127 of it. */
export function roundBlocks(row: Float64Array, blockSize: number): Float64Array {
  const rounded = row.slice();
  for (let start = 0; start < row.length; start += blockSize) {
    const block = row.subarray(start, start + blockSize);
    const step = block.reduce((most, value) => Math.max(most, Math.abs(value)), 0) / LARGEST;
    if (step === 0) continue;
    block.forEach((value, i) => (rounded[start + i] = roundHalfEven(value / step) * step));
  }
  return rounded;
}

/**
 * y = x Wᵀ with W in codes of 4 bits, as `packedMatmul` has it, and x rounded to 8 bits: every block of a row is divided by its largest
 * magnitude and rounded to 1/127 of it, so that the products of a block are whole numbers.
 *
 * Shapes: x (N, in), codes (out, in / b, b / 2) uint8, scales (out, in / b) → (N, out); b is 16 or more and a power of two.
 */
export const packedInt8Matmul: Op<3> = defineOp({
  ...definition,
  name: "packedInt8Matmul",
  lower({ emit, inputs, types }) {
    const { rows, blocks, blockSize } = packedSizes("packedInt8Matmul", types[1], types[2]);
    return emit.node("MatMulNBits", inputs, {
      domain: "com.microsoft",
      attributes: {
        K: blocks * blockSize,
        N: rows as number,
        bits: 4,
        block_size: blockSize,
        accuracy_level: 4,
      },
    });
  },
  evaluate([x, codes, scales]) {
    const { dims } = unpack.definition.evaluate([codes, scales], {});
    const width = dims[1]!;
    const blockSize = width / codes.dims[1]!;
    const rows = Array.from({ length: x.dims[0]! }, (_, i) =>
      roundBlocks(x.data.slice(i * width, (i + 1) * width) as Float64Array, blockSize),
    );
    const rounded = ndArray(x.dims, Float64Array.from(rows.flatMap((row) => [...row])));
    return definition.evaluate([rounded, codes, scales], {});
  },
  multiplies: "int8",
  rounds: true,
});
