import { codeBooks, type QuantType } from "../base/code-books.js";
import type { TensorType } from "../base/tensor-type.js";
import { ndArray } from "../graph/nd-array.js";
import { defineOp, type Op, shapeMismatch } from "./op.js";

/** How a matrix W (out, in) is kept in codes of 4 bits: row by row, in blocks that may go over the end of a row. */
export interface Bnb4Attrs {
  readonly out: number;
  readonly width: number;
  readonly blockSize: number;
  readonly quantType: QuantType;
}

/** Checks that codes and scales are those of such a matrix. */
export function checkBnb4(op: string, codes: TensorType, absmax: TensorType, attrs: Bnb4Attrs): void {
  const size = attrs.out * attrs.width;
  const fits =
    codes.dtype === "uint8" &&
    codes.shape.join() === String(Math.ceil(size / 2)) &&
    absmax.shape.join() === String(Math.ceil(size / attrs.blockSize));
  if (fits) return;
  throw shapeMismatch(op, "takes uint8 codes (out · in / 2) and the largest magnitudes (out · in / block)", [
    codes,
    absmax,
  ]);
}

/** Two numbers for each byte of codes, the earlier one from its high half. */
function pairs(book: Float32Array): number[] {
  return Array.from({ length: 512 }, (_, i) => book[i % 2 === 0 ? i >> 5 : (i >> 1) & 15]!);
}

/**
 * A matrix from codes of 4 bits as bitsandbytes keeps them: W = absmax · book[code], the earlier code in the high half of each byte,
 * absmax the largest magnitude of a block. Codes and scales are frozen: no gradient reaches them.
 *
 * Shapes: codes (⌈out · in / 2⌉) uint8, absmax (⌈out · in / block⌉) → (out, in).
 */
export const bnb4Unpack: Op<2, Bnb4Attrs> = defineOp({
  name: "bnb4Unpack",
  arity: 2,
  infer([codes, absmax], attrs) {
    checkBnb4("bnb4Unpack", codes, absmax, attrs);
    return { dtype: absmax.dtype, shape: [attrs.out, attrs.width] };
  },
  gradient: () => [undefined, undefined],
  lower({ emit, inputs: [codes, absmax], attrs }) {
    const { out, width, blockSize, quantType } = attrs;
    const ints = (...values: number[]): string => emit.constant("int64", [values.length], values);
    const size = out * width;
    const blocks = Math.ceil(size / blockSize);
    const table = emit.constant("float32", [256, 2], pairs(codeBooks[quantType]));
    const bytes = emit.node("Cast", [codes], { attributes: { to: 6 } });
    let values = emit.node("Gather", [table, bytes], { attributes: { axis: 0 } });
    const missing = blocks * blockSize - 2 * Math.ceil(size / 2);
    if (missing > 0) {
      const flat = emit.node("Reshape", [values, ints(-1)]);
      values = emit.node("Pad", [flat, ints(0, missing)]);
    }
    const inBlocks = emit.node("Reshape", [values, ints(blocks, blockSize)]);
    let scaled = emit.node("Mul", [inBlocks, emit.node("Unsqueeze", [absmax, ints(1)])]);
    if (blocks * blockSize > size) {
      const flat = emit.node("Reshape", [scaled, ints(-1)]);
      scaled = emit.node("Slice", [flat, ints(0), ints(size)]);
    }
    return emit.node("Reshape", [scaled, ints(out, width)]);
  },
  evaluate([codes, absmax], { out, width, blockSize, quantType }) {
    const y = ndArray([out, width]);
    for (let i = 0; i < y.data.length; i += 1) {
      const byte = codes.data[i >> 1]!;
      const code = i % 2 === 0 ? byte >> 4 : byte & 15;
      y.data[i] = codeBooks[quantType][code]! * absmax.data[Math.floor(i / blockSize)]!;
    }
    return y;
  },
  samples: [
    {
      inputs: [{ shape: [192], kind: "index", below: 256, dtype: "uint8" }, { shape: [6] }],
      attrs: { out: 3, width: 128, blockSize: 64, quantType: "nf4" },
    },
    {
      inputs: [{ shape: [53], kind: "index", below: 256, dtype: "uint8" }, { shape: [4] }],
      attrs: { out: 3, width: 35, blockSize: 32, quantType: "fp4" },
    },
  ],
  float32Only: true,
});
