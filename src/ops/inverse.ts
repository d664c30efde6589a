import { type NdArray, ndArray } from "../graph/nd-array.js";
import { defineOp, type Op, shapeMismatch } from "./op.js";

/** Enough for n · (condition number)² up to about a million; later steps change nothing. */
const STEPS = 24;

/** Gauss and Jordan's elimination with row pivots, in place; `y` starts as the identity. */
function invert(a: Float64Array, y: Float64Array, n: number): void {
  for (let i = 0; i < n; i += 1) y[i * n + i] = 1;
  for (let column = 0; column < n; column += 1) {
    let pivot = column;
    for (let row = column + 1; row < n; row += 1)
      if (Math.abs(a[row * n + column]!) > Math.abs(a[pivot * n + column]!)) pivot = row;
    for (const m of [a, y]) {
      for (let k = 0; k < n; k += 1) {
        const [i, j] = [column * n + k, pivot * n + k];
        [m[i], m[j]] = [m[j]!, m[i]!];
      }
    }
    const scale = a[column * n + column]!;
    for (let k = 0; k < n; k += 1) {
      a[column * n + k]! /= scale;
      y[column * n + k]! /= scale;
    }
    for (let row = 0; row < n; row += 1) {
      const factor = a[row * n + column]!;
      if (row === column || factor === 0) continue;
      for (let k = 0; k < n; k += 1) {
        a[row * n + k]! -= factor * a[column * n + k]!;
        y[row * n + k]! -= factor * y[column * n + k]!;
      }
    }
  }
}

/**
 * y = a⁻¹ of small well-conditioned square matrices.
 *
 * Shapes: a (…, n, n) → (…, n, n).
 * ONNX has no inverse, so the runtime takes Newton's steps y ← y (2 I − a y) from y = aᵀ / ‖a‖²: each doubles the digits, and the
 * result is right to rounding as long as n · (condition number)² stays below about a million.
 *
 * @see Schulz, "Iterative Berechnung der reziproken Matrix", ZAMM 13 (1933)
 */
export const inverse: Op<1> = defineOp({
  name: "inverse",
  arity: 1,
  infer([a]) {
    const [n, m] = a.shape.slice(-2);
    if (a.shape.length < 2 || n !== m || typeof n !== "number")
      throw shapeMismatch("inverse", "takes square matrices of known size", [a]);
    return a;
  },
  // da = −yᵀ dy yᵀ
  gradient: ({ f, dy, y }) => [
    f.matmul(f.matmul(y, dy, { transposeA: true, alpha: -1 }), y, { transposeB: true }),
  ],
  lower({ emit, inputs: [a], type }) {
    const rank = type.shape.length;
    const n = type.shape.at(-1) as number;
    const eye = Array.from({ length: n * n }, (_, i) => (i % (n + 1) === 0 ? 2 : 0));
    const twice = emit.constant(type.dtype, [n, n], eye);
    const perm = [...Array.from({ length: rank - 2 }, (_, axis) => axis), rank - 1, rank - 2];
    const norm = emit.node("ReduceSumSquare", [a, emit.constant("int64", [2], [-2, -1])]);
    let y = emit.node("Div", [emit.node("Transpose", [a], { attributes: { perm } }), norm]);
    for (let step = 0; step < STEPS; step += 1)
      y = emit.node("MatMul", [y, emit.node("Sub", [twice, emit.node("MatMul", [a, y])])]);
    return y;
  },
  evaluate([a]): NdArray {
    const n = a.dims.at(-1)!;
    const y = ndArray(a.dims);
    for (let start = 0; start < a.data.length; start += n * n)
      invert(a.data.slice(start, start + n * n), y.data.subarray(start, start + n * n), n);
    return y;
  },
  samples: [
    { inputs: [{ shape: [3, 3] }], attrs: {} },
    { inputs: [{ shape: [2, 3, 4, 4] }], attrs: {} },
  ],
});
