import { Random } from "./random.js";

/** Columns of a matrix, each an array: what the routines here work on, as they combine whole columns. */
type Columns = Float64Array[];

const dot = (a: Float64Array, b: Float64Array): number => {
  let sum = 0;
  for (let i = 0; i < a.length; i += 1) sum += a[i]! * b[i]!;
  return sum;
};

/** a ← a + factor · b */
const addTo = (a: Float64Array, b: Float64Array, factor: number): void => {
  for (let i = 0; i < a.length; i += 1) a[i]! += factor * b[i]!;
};

/** Makes columns orthonormal, in place, one after another and twice, so that rounding does not show. A column that is left with nothing becomes zero. */
export function orthonormalise(columns: Columns): void {
  for (const [j, column] of columns.entries()) {
    const length = Math.sqrt(dot(column, column));
    for (let pass = 0; pass < 2; pass += 1)
      for (let i = 0; i < j; i += 1) addTo(column, columns[i]!, -dot(columns[i]!, column));
    const left = Math.sqrt(dot(column, column));
    const scale = left > 1e-12 * length ? 1 / left : 0;
    for (let i = 0; i < column.length; i += 1) column[i]! *= scale;
  }
}

/** W X for W (m, n), row by row, and columns X of length n. */
function times(W: Float32Array, m: number, n: number, X: Columns): Columns {
  const Y = X.map(() => new Float64Array(m));
  for (let i = 0; i < m; i += 1) {
    const row = W.subarray(i * n, (i + 1) * n);
    for (const [k, x] of X.entries()) {
      let sum = 0;
      for (let j = 0; j < n; j += 1) sum += row[j]! * x[j]!;
      Y[k]![i] = sum;
    }
  }
  return Y;
}

/** Wᵀ X for W (m, n) and columns X of length m. */
function timesTransposed(W: Float32Array, m: number, n: number, X: Columns): Columns {
  const Y = X.map(() => new Float64Array(n));
  for (let i = 0; i < m; i += 1) {
    const row = W.subarray(i * n, (i + 1) * n);
    for (const [k, x] of X.entries()) {
      const factor = x[i]!;
      const y = Y[k]!;
      for (let j = 0; j < n; j += 1) y[j]! += factor * row[j]!;
    }
  }
  return Y;
}

/**
 * Hestenes' rotations: makes columns orthogonal, in place, and applies the same rotations to `V`. What is left is U diag(S), and V
 * the right vectors.
 */
function rotate(columns: Columns, V: Columns): void {
  for (let sweep = 0; sweep < 60; sweep += 1) {
    let turned = false;
    for (let p = 0; p < columns.length; p += 1) {
      for (let q = p + 1; q < columns.length; q += 1) {
        const [a, b] = [columns[p]!, columns[q]!];
        const [aa, bb, ab] = [dot(a, a), dot(b, b), dot(a, b)];
        if (Math.abs(ab) <= 1e-15 * Math.sqrt(aa * bb)) continue;
        turned = true;
        const zeta = (bb - aa) / (2 * ab);
        const t = Math.sign(zeta || 1) / (Math.abs(zeta) + Math.hypot(1, zeta));
        const c = 1 / Math.hypot(1, t);
        for (const [x, y] of [
          [a, b],
          [V[p]!, V[q]!],
        ] as const) {
          for (let i = 0; i < x.length; i += 1) {
            const [u, v] = [x[i]!, y[i]!];
            x[i] = c * (u - t * v);
            y[i] = c * (t * u + v);
          }
        }
      }
    }
    if (!turned) return;
  }
}

const identity = (n: number): Columns =>
  Array.from({ length: n }, (_, j) => Float64Array.from({ length: n }, (_value, i) => (i === j ? 1 : 0)));

/** The parts of a matrix that belong to its largest singular values. */
export interface Svd {
  /** Left vectors, each of length m. */
  readonly U: Columns;
  /** Singular values, the largest first. */
  readonly S: Float64Array;
  /** Right vectors, each of length n. */
  readonly V: Columns;
}

/** The decomposition of Q Qᵀ W, given orthonormal columns Q of length m. */
export function projected(W: Float32Array, m: number, n: number, Q: Columns, r: number): Svd {
  const B = timesTransposed(W, m, n, Q); // rows of Qᵀ W, as columns
  const turns = identity(Q.length);
  rotate(B, turns);
  const lengths = B.map((column) => Math.sqrt(dot(column, column)));
  const order = [...lengths.keys()].sort((a, b) => lengths[b]! - lengths[a]!).slice(0, r);
  const U = order.map((k) => {
    const u = new Float64Array(m);
    for (const [j, q] of Q.entries()) addTo(u, q, turns[k]![j]!);
    return u;
  });
  const V = order.map((k) => B[k]!.map((value) => (lengths[k]! > 0 ? value / lengths[k]! : 0)));
  return { U, S: Float64Array.from(order, (k) => lengths[k]!), V };
}

/** Sides up to this are decomposed as a whole. */
export const SMALL = 96;

/**
 * The r largest singular values of a matrix with their vectors, in float64: W ≈ U diag(S) Vᵀ.
 *
 * Small matrices are decomposed as a whole. Of larger ones a random subspace is taken through W Wᵀ again and again: `iterations` times
 * with r vectors, which is fast and rough, or, where none are given, with more vectors until the singular values stand still.
 *
 * @param W - (m, n), row by row.
 * @see Halko, Martinsson and Tropp, "Finding Structure with Randomness", arXiv:0909.4061, algorithms 4.4 and 5.1; one-sided rotations:
 * Hestenes, "Inversion of Matrices by Biorthogonalization" (1958)
 */
export function truncatedSvd(
  W: Float32Array,
  m: number,
  n: number,
  r: number,
  options: { readonly iterations?: number; readonly seed?: number } = {},
): Svd {
  const side = Math.min(m, n);
  const exact = options.iterations === undefined;
  if (exact && side <= SMALL) {
    const Q = m <= n ? identity(m) : timesColumns(W, m, n);
    return projected(W, m, n, Q, r);
  }
  const random = new Random(options.seed ?? 0);
  const width = Math.min(side, exact ? 2 * r + 8 : r);
  const start = Array.from({ length: width }, () => Float64Array.from({ length: n }, () => random.normal()));
  let Q = times(W, m, n, start);
  orthonormalise(Q);
  const step = (): void => {
    const Z = timesTransposed(W, m, n, Q);
    orthonormalise(Z);
    Q = times(W, m, n, Z);
    orthonormalise(Q);
  };
  for (let i = 0; i < (options.iterations ?? 4); i += 1) step();
  let result = projected(W, m, n, Q, r);
  const rounds = exact ? 40 : 0;
  for (let i = 0; i < rounds; i += 1) {
    for (let inner = 0; inner < 4; inner += 1) step();
    const next = projected(W, m, n, Q, r);
    const still = next.S.every((value, k) => Math.abs(value - result.S[k]!) <= 1e-7 * next.S[0]!);
    result = next;
    if (still) break;
  }
  return result;
}

/** An orthonormal basis of the columns of a tall matrix. */
function timesColumns(W: Float32Array, m: number, n: number): Columns {
  const Q = Array.from({ length: n }, (_, j) =>
    Float64Array.from({ length: m }, (_value, i) => W[i * n + j]!),
  );
  orthonormalise(Q);
  return Q;
}

/**
 * The first r columns of Q and rows of R in W = Q R, up to the signs of both: W restricted to the span of its first r columns is
 * Q R.
 *
 * @param W - (m, n), row by row; r at most m and n.
 */
export function leadingQr(W: Float32Array, m: number, n: number, r: number): { Q: Columns; R: Columns } {
  const Q = Array.from({ length: r }, (_, j) =>
    Float64Array.from({ length: m }, (_value, i) => W[i * n + j]!),
  );
  orthonormalise(Q);
  return { Q, R: timesTransposed(W, m, n, Q) };
}
