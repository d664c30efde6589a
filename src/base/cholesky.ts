/**
 * The lower triangle L of a symmetric positive definite matrix, M = L Lᵀ, in float64; undefined where rounding leaves it indefinite.
 *
 * @param M - (n, n), row by row.
 */
export function cholesky(M: Float64Array, n: number): Float64Array | undefined {
  const L = new Float64Array(n * n);
  for (let i = 0; i < n; i += 1) {
    const rowI = L.subarray(i * n, i * n + n);
    for (let j = 0; j <= i; j += 1) {
      const rowJ = L.subarray(j * n, j * n + n);
      let sum = M[i * n + j]!;
      for (let k = 0; k < j; k += 1) sum -= rowI[k]! * rowJ[k]!;
      if (i !== j) {
        rowI[j] = sum / rowJ[j]!;
        continue;
      }
      if (!(sum > 0)) return undefined;
      rowI[j] = Math.sqrt(sum);
    }
  }
  return L;
}

/** x with L Lᵀ x = b; b is written over. */
export function solveCholesky(L: Float64Array, n: number, b: Float64Array): Float64Array {
  for (let i = 0; i < n; i += 1) {
    let sum = b[i]!;
    for (let k = 0; k < i; k += 1) sum -= L[i * n + k]! * b[k]!;
    b[i] = sum / L[i * n + i]!;
  }
  for (let i = n - 1; i >= 0; i -= 1) {
    // Column i of L is row i of Lᵀ; taking it off row by row reads L in order.
    const value = b[i]! / L[i * n + i]!;
    b[i] = value;
    for (let k = 0; k < i; k += 1) b[k]! -= L[i * n + k]! * value;
  }
  return b;
}

/** M with a share of its mean diagonal added to the diagonal: (n, n). */
export function damped(M: Float64Array, n: number, share: number): Float64Array {
  const result = M.slice();
  let trace = 0;
  for (let i = 0; i < n; i += 1) trace += M[i * n + i]!;
  for (let i = 0; i < n; i += 1) result[i * n + i]! += (share * trace) / n;
  return result;
}
