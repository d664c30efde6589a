import { NoSteps } from "../steps/emitter.js";
import { denseSteps } from "../steps/products.js";
import { broadcastShapes } from "../graph/broadcast.js";
import {
  broadcastDims,
  broadcastStrides,
  forEachPosition,
  type NdArray,
  ndArray,
} from "../graph/nd-array.js";
import type { Dim } from "../base/tensor-type.js";
import { defineOp, type Op, shapeMismatch } from "./op.js";

/** How the two sides are read, and a factor on the product. */
export interface MatmulAttrs {
  readonly transposeA?: boolean;
  readonly transposeB?: boolean;
  readonly alpha?: number;
}

const flip = <T>(pair: readonly T[], when: boolean | undefined): T[] =>
  when === true ? [...pair].reverse() : [...pair];

/** Swaps the last two of `rank` axes. */
const swapped = (rank: number): number[] => {
  const axes = Array.from({ length: rank }, (_, axis) => axis);
  return [...axes.slice(0, -2), rank - 1, rank - 2];
};

/**
 * y = alpha · op(a) op(b), where op is the identity or the transpose of the last two axes; the axes before broadcast.
 *
 * Shapes: op(a) (…, M, K), op(b) (…, K, N) → (…, M, N).
 */
export const matmul: Op<2, MatmulAttrs> = defineOp({
  name: "matmul",
  arity: 2,
  infer([a, b], attrs) {
    const [m, inner] = flip(a.shape.slice(-2), attrs.transposeA) as [Dim, Dim];
    const [innerB, n] = flip(b.shape.slice(-2), attrs.transposeB) as [Dim, Dim];
    const batch = broadcastShapes(a.shape.slice(0, -2), b.shape.slice(0, -2));
    if (a.shape.length < 2 || b.shape.length < 2)
      throw shapeMismatch("matmul", "both sides need two axes or more", [a, b]);
    if (inner !== innerB) throw shapeMismatch("matmul", `inner sizes differ, ${inner} and ${innerB}`, [a, b]);
    if (batch === undefined || a.dtype !== b.dtype)
      throw shapeMismatch("matmul", "the two sides do not fit", [a, b]);
    return { dtype: a.dtype, shape: [...batch, m, n] };
  },
  gradient({ f, dy, inputs: [a, b], attrs: { transposeA: ta = false, transposeB: tb = false, alpha = 1 } }) {
    const da = () =>
      ta
        ? f.matmul(b, dy, { transposeA: tb, transposeB: true, alpha })
        : f.matmul(dy, b, { transposeB: !tb, alpha });
    const db = () =>
      tb
        ? f.matmul(dy, a, { transposeA: true, transposeB: ta, alpha })
        : f.matmul(a, dy, { transposeA: !ta, alpha });
    return [da, db];
  },
  lower({ emit, inputs: [a, b], types, type, attrs: { transposeA = false, transposeB = false, alpha = 1 } }) {
    if ((transposeA || transposeB || alpha !== 1) && emit.capabilities.fusedMatMul) {
      return emit.node("FusedMatMul", [a, b], {
        domain: "com.microsoft",
        attributes: { transA: Number(transposeA), transB: Number(transposeB), alpha: { float: alpha } },
      });
    }
    const side = (name: string, rank: number, transpose: boolean): string =>
      transpose ? emit.node("Transpose", [name], { attributes: { perm: swapped(rank) } }) : name;
    const y = emit.node("MatMul", [
      side(a, types[0].shape.length, transposeA),
      side(b, types[1].shape.length, transposeB),
    ]);
    return alpha === 1 ? y : emit.node("Mul", [y, emit.constant(type.dtype, [], [alpha])]);
  },
  steps({ emit, inputs, attrs: { transposeA = false, transposeB = false, alpha = 1 } }) {
    if (transposeA) throw new NoSteps("the left side is turned");
    return denseSteps(emit, inputs, { turned: transposeB, alpha });
  },
  evaluate([a, b], { transposeA = false, transposeB = false, alpha = 1 }): NdArray {
    const [m, k] = flip(a.dims.slice(-2), transposeA) as [number, number];
    const n = transposeB ? b.dims.at(-2)! : b.dims.at(-1)!;
    const batch = broadcastDims(a.dims.slice(0, -2), b.dims.slice(0, -2));
    const y = ndArray([...batch, m, n]);
    const strides = [a, b].map((x) =>
      broadcastStrides(x.dims.slice(0, -2), batch.length).map((s) => s * x.dims.at(-1)! * x.dims.at(-2)!),
    );
    const [rowA, colA] = transposeA ? [1, m] : [k, 1];
    const [rowB, colB] = transposeB ? [1, k] : [n, 1];
    forEachPosition(batch, strides, (index, offsets) => {
      for (let i = 0; i < m; i += 1) {
        for (let j = 0; j < n; j += 1) {
          let sum = 0;
          for (let l = 0; l < k; l += 1) {
            sum += a.data[offsets[0]! + i * rowA + l * colA]! * b.data[offsets[1]! + l * rowB + j * colB]!;
          }
          y.data[index * m * n + i * n + j] = alpha * sum;
        }
      }
    });
    return y;
  },
  multiplies: "float32",
  sumsRows: true,
  samples: [
    { inputs: [{ shape: [3, 4] }, { shape: [4, 2] }], attrs: {} },
    { inputs: [{ shape: [3, 4] }, { shape: [2, 4] }], attrs: { transposeB: true, alpha: 0.5 } },
    { inputs: [{ shape: [4, 3] }, { shape: [4, 2] }], attrs: { transposeA: true } },
    { inputs: [{ shape: [4, 3] }, { shape: [2, 4] }], attrs: { transposeA: true, transposeB: true } },
    { inputs: [{ shape: [5, 3, 4] }, { shape: [5, 2, 4] }], attrs: { transposeB: true, alpha: 2 } },
    { inputs: [{ shape: [2, 5, 3, 4] }, { shape: [5, 4, 2] }], attrs: {} },
  ],
});
