import { ndArray } from "../graph/nd-array.js";
import type { Dim, TensorType } from "../base/tensor-type.js";
import { defineOp, type Op, shapeMismatch } from "./op.js";

/** Rows, blocks of a row and values of a block of a packed matrix. */
export function packedSizes(
  op: string,
  codes: TensorType,
  scales: TensorType,
): { readonly rows: Dim; readonly blocks: number; readonly blockSize: number } {
  const [rows, blocks, half] = codes.shape;
  if (codes.dtype !== "uint8" || codes.shape.length !== 3 || scales.shape.join() !== [rows, blocks].join()) {
    throw shapeMismatch(op, "takes uint8 codes (out, blocks, block / 2) and scales (out, blocks)", [
      codes,
      scales,
    ]);
  }
  return { rows: rows!, blocks: blocks as number, blockSize: 2 * (half as number) };
}

/**
 * A matrix from its codes of 4 bits: W = scale (code − 8), the earlier value in the low half of each byte. Codes and scales are
 * frozen: no gradient reaches them.
 *
 * Shapes: codes (out, in / b, b / 2) uint8, scales (out, in / b) → (out, in).
 */
export const unpack: Op<2> = defineOp({
  name: "unpack",
  arity: 2,
  infer([codes, scales]) {
    const { rows, blocks, blockSize } = packedSizes("unpack", codes, scales);
    return { dtype: scales.dtype, shape: [rows, blocks * blockSize] };
  },
  gradient: () => [undefined, undefined],
  lower({ emit, inputs: [codes, scales], types, type }) {
    const { rows, blocks, blockSize } = packedSizes("unpack", types[0], types[1]);
    const last = emit.constant("int64", [1], [-1]);
    const digit = (bits: string): string => {
      const real = emit.node("Cast", [bits], { attributes: { to: 1 } });
      const centred = emit.node("Sub", [real, emit.constant("float32", [], [8])]);
      return emit.node("Unsqueeze", [centred, last]);
    };
    const low = digit(emit.node("BitwiseAnd", [codes, emit.constant("uint8", [], [15])]));
    const high = digit(
      emit.node("BitShift", [codes, emit.constant("uint8", [], [4])], { attributes: { direction: "RIGHT" } }),
    );
    const pairs = emit.node("Concat", [low, high], { attributes: { axis: -1 } });
    const shape = (dims: readonly Dim[]): string =>
      emit.constant(
        "int64",
        [dims.length],
        dims.map((dim) => (typeof dim === "number" ? dim : -1)),
      );
    const values = emit.node("Reshape", [pairs, shape([rows, blocks, blockSize])]);
    const scaled = emit.node("Mul", [values, emit.node("Unsqueeze", [scales, last])]);
    return emit.node("Reshape", [scaled, shape(type.shape)]);
  },
  evaluate([codes, scales]) {
    const [rows, blocks, half] = codes.dims as [number, number, number];
    const y = ndArray([rows, blocks * half * 2]);
    for (const [at, byte] of codes.data.entries()) {
      const scale = scales.data[Math.floor(at / half)]!;
      y.data[2 * at] = scale * ((byte & 15) - 8);
      y.data[2 * at + 1] = scale * ((byte >> 4) - 8);
    }
    return y;
  },
  samples: [
    {
      inputs: [{ shape: [3, 2, 8], kind: "index", below: 256, dtype: "uint8" }, { shape: [3, 2] }],
      attrs: {},
    },
  ],
  float32Only: true,
});
