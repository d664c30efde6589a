/** Entries beside the diagonal that are smaller than this share of their neighbours on it count as zero. */
const NEGLIGIBLE = 2 ** -52;

/** Eigenvalues of a symmetric matrix, and their vectors in the same order. */
export interface Eigen {
  readonly values: Float64Array;
  readonly vectors: readonly Float64Array[];
}

/** One implicit step of QR, with Wilkinson's shift, on rows `low` to `high`; the vectors take the same rotations. */
function step(d: Float64Array, e: Float64Array, vectors: Float64Array[], low: number, high: number): void {
  const half = (d[high - 1]! - d[high]!) / 2;
  const last = e[high - 1]!;
  const shift = d[high]! - (last * last) / (half + (half < 0 ? -1 : 1) * Math.hypot(half, last));
  let [x, z] = [d[low]! - shift, e[low]!];
  for (let k = low; k < high; k += 1) {
    const r = Math.hypot(x, z);
    const [c, s] = r === 0 ? [1, 0] : [x / r, z / r];
    if (k > low) e[k - 1] = r;
    const [a, b, g] = [d[k]!, e[k]!, d[k + 1]!];
    d[k] = c * c * a + 2 * c * s * b + s * s * g;
    d[k + 1] = s * s * a - 2 * c * s * b + c * c * g;
    e[k] = c * s * (g - a) + (c * c - s * s) * b;
    if (k < high - 1) {
      z = s * e[k + 1]!;
      e[k + 1]! *= c;
      x = e[k]!;
    }
    const [u, v] = [vectors[k]!, vectors[k + 1]!];
    for (let i = 0; i < u.length; i += 1) {
      const [p, q] = [u[i]!, v[i]!];
      u[i] = c * p + s * q;
      v[i] = c * q - s * p;
    }
  }
}

/**
 * The eigenvalues and vectors of a symmetric tridiagonal matrix.
 *
 * @param diagonal - n numbers.
 * @param beside - the n − 1 above it, which are those below it.
 * @see Golub and Van Loan, "Matrix Computations", algorithm 8.3.3
 */
export function tridiagonalEigen(diagonal: readonly number[], beside: readonly number[]): Eigen {
  const n = diagonal.length;
  const [d, e] = [Float64Array.from(diagonal), Float64Array.from(beside)];
  const vectors = Array.from({ length: n }, (_, j) => {
    const column = new Float64Array(n);
    column[j] = 1;
    return column;
  });
  const isZero = (k: number): boolean =>
    Math.abs(e[k]!) <= NEGLIGIBLE * (Math.abs(d[k]!) + Math.abs(d[k + 1]!));
  let high = n - 1;
  // Two steps find a value, as a rule; the bound only keeps numbers that are not finite from going round for ever.
  for (let left = 60 * n; high > 0 && left > 0; left -= 1) {
    if (isZero(high - 1)) {
      high -= 1;
      continue;
    }
    let low = high - 1;
    while (low > 0 && !isZero(low - 1)) low -= 1;
    step(d, e, vectors, low, high);
  }
  return { values: d, vectors };
}
