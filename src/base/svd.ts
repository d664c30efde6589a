import { Random } from "./random.js";
import { tridiagonalEigen } from "./tridiagonal.js";

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
 * Small matrices are decomposed as a whole. Of larger ones a random subspace of r vectors is taken through W Wᵀ `iterations` times, which
 * is fast and rough, or, where no number is given, a bidiagonal matrix grows until it has the same largest values.
 *
 * @param W - (m, n), row by row.
 * @see Halko, Martinsson and Tropp, "Finding Structure with Randomness", arXiv:0909.4061, algorithms 4.4 and 5.1; one-sided rotations:
 * Hestenes, "Inversion of Matrices by Biorthogonalization" (1958); Golub and Kahan, "Calculating the Singular Values and Pseudo-Inverse of
 * a Matrix" (1965)
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
  if (exact) return m >= n ? bidiagonalised(W, m, n, r, false) : bidiagonalised(W, n, m, r, true);
  const random = new Random(options.seed ?? 0);
  const width = Math.min(side, r);
  const start = Array.from({ length: width }, () => Float64Array.from({ length: n }, () => random.normal()));
  let Q = times(W, m, n, start);
  orthonormalise(Q);
  const step = (): void => {
    const Z = timesTransposed(W, m, n, Q);
    orthonormalise(Z);
    Q = times(W, m, n, Z);
    orthonormalise(Q);
  };
  for (let i = 0; i < options.iterations!; i += 1) step();
  return projected(W, m, n, Q, r);
}

/** Takes the parts along orthonormal columns off a vector, twice, so that rounding does not show, and makes its length 1; answers what it was. */
function normalise(x: Float64Array, against: Columns): number {
  for (let pass = 0; pass < 2; pass += 1) for (const column of against) addTo(x, column, -dot(column, x));
  const length = Math.sqrt(dot(x, x));
  if (length > 0) for (let i = 0; i < x.length; i += 1) x[i]! /= length;
  return length;
}

/** A combination of columns. */
function combined(columns: Columns, factors: Float64Array): Float64Array {
  const sum = new Float64Array(columns[0]!.length);
  for (const [j, column] of columns.entries()) addTo(sum, column, factors[j]!);
  return sum;
}

/** How far vectors may be from those of a matrix, over its largest singular value. */
const NEAR = 1e-7;

/**
 * The r largest by Golub and Kahan's bidiagonalisation: W V = U B with orthonormal U and V and an upper bidiagonal B, which grow by a
 * column until the largest singular values of B are those of W. It needs far fewer products with W than a subspace that is taken
 * through it, above all where singular values lie close together, as those of rounding errors do.
 *
 * @param m - at least n.
 */
function bidiagonalised(W: Float32Array, m: number, n: number, r: number, turned: boolean): Svd {
  const random = new Random(0);
  const apply = (x: Float64Array): Float64Array =>
    (turned ? timesTransposed(W, n, m, [x]) : times(W, m, n, [x]))[0]!;
  const applyBack = (y: Float64Array): Float64Array =>
    (turned ? times(W, n, m, [y]) : timesTransposed(W, m, n, [y]))[0]!;
  const draw = (): Float64Array => Float64Array.from({ length: n }, () => random.normal());
  const [U, V]: [Columns, Columns] = [[], []];
  const [diagonal, above]: [number[], number[]] = [[], []];
  let v = draw();
  normalise(v, V);
  for (let next = Math.min(n, 2 * r + 24); ;) {
    V.push(v);
    const u = apply(v);
    diagonal.push(normalise(u, U));
    U.push(u);
    v = applyBack(u);
    let beta = normalise(v, V);
    const k = U.length;
    if (k === next) {
      // Bᵀ B: its vectors are the right ones of B.
      const squares = diagonal.map((value, j) => value * value + (j === 0 ? 0 : above[j - 1]! ** 2));
      const { values, vectors } = tridiagonalEigen(
        squares,
        above.map((value, j) => value * diagonal[j]!),
      );
      const order = [...values.keys()].sort((i, j) => values[j]! - values[i]!).slice(0, r);
      const S = Float64Array.from(order, (i) => Math.sqrt(Math.max(0, values[i]!)));
      const right = order.map((i) => vectors[i]!);
      const left = right.map((y, i) => {
        const image = y.map((value, j) => diagonal[j]! * value + (above[j] ?? 0) * (y[j + 1] ?? 0));
        return image.map((value) => value / (S[i]! || 1));
      });
      // How far a vector is from one of W's: what flows out of its last entry.
      if (k === n || left.every((x) => beta * Math.abs(x[k - 1]!) <= NEAR * S[0]!)) {
        const [inU, inV] = [left.map((x) => combined(U, x)), right.map((y) => combined(V, y))];
        return turned ? { U: inV, S, V: inU } : { U: inU, S, V: inV };
      }
      next = Math.min(n, Math.ceil(1.3 * k));
    }
    // Where nothing flows out, another direction begins.
    if (beta <= 1e-12 * diagonal[0]!) {
      v = draw();
      normalise(v, V);
      beta = 0;
    }
    above.push(beta);
  }
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
