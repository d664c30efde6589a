import { cholesky, damped, solveCholesky } from "./cholesky.js";
import { Random } from "./random.js";
import { orthonormalise, projected, SMALL, type Svd, truncatedSvd } from "./svd.js";

/** W (m, n) the other way round. */
function turned(W: Float32Array, m: number, n: number): Float32Array {
  const result = new Float32Array(W.length);
  for (let i = 0; i < m; i += 1) for (let j = 0; j < n; j += 1) result[j * m + i] = W[i * n + j]!;
  return result;
}

/** W Wᵀ: (m, m). */
function gram(W: Float32Array, m: number, n: number): Float64Array {
  const G = new Float64Array(m * m);
  for (let i = 0; i < m; i += 1) {
    const a = W.subarray(i * n, i * n + n);
    for (let j = 0; j <= i; j += 1) {
      const b = W.subarray(j * n, j * n + n);
      let sum = 0;
      for (let k = 0; k < n; k += 1) sum += a[k]! * b[k]!;
      G[i * m + j] = sum;
      G[j * m + i] = sum;
    }
  }
  return G;
}

const last = ({ U, S, V }: Svd, r: number): Svd => ({ U: U.slice(-r), S: S.slice(-r), V: V.slice(-r) });

/** The factor of a Gram matrix, raised by as little as rounding asks for; that moves values and leaves vectors. */
function factor(G: Float64Array, m: number): Float64Array {
  for (let share = 1e-14; ; share *= 100) {
    const L = cholesky(damped(G, m, share), m);
    if (L !== undefined) return L;
  }
}

/**
 * The r smallest singular values of a matrix, of the min(m, n) that it has, with their vectors, the smallest last.
 *
 * Small matrices are decomposed as a whole. Of larger ones a random subspace is taken through (W Wᵀ)⁻¹ until the values stand still.
 *
 * @param W - (m, n), row by row.
 */
export function smallestSvd(W: Float32Array, m: number, n: number, r: number): Svd {
  const side = Math.min(m, n);
  if (side <= SMALL) return last(truncatedSvd(W, m, n, side), r);
  if (m > n) {
    const { U, S, V } = smallestSvd(turned(W, m, n), n, m, r);
    return { U: V, S, V: U };
  }
  const L = factor(gram(W, m, n), m);
  const random = new Random(0);
  const width = Math.min(m, 2 * r + 8);
  const Q = Array.from({ length: width }, () => Float64Array.from({ length: m }, () => random.normal()));
  orthonormalise(Q);
  let result: Svd | undefined;
  for (let round = 0; round < 40; round += 1) {
    for (let inner = 0; inner < 4; inner += 1) {
      for (const column of Q) solveCholesky(L, m, column);
      orthonormalise(Q);
    }
    const next = last(projected(W, m, n, Q, width), r);
    const still =
      result !== undefined &&
      next.S.every((value, k) => Math.abs(value - result!.S[k]!) <= 1e-6 * next.S[0]!);
    result = next;
    if (still) break;
  }
  return result!;
}
