import { describe, expect, test } from "vitest";
import { Random } from "./random.js";
import { leadingQr, type Svd, truncatedSvd } from "./svd.js";

/** A matrix with the singular values 10, 9, 8 … and then a tail. */
function matrix(m: number, n: number, seed: number): Float32Array {
  const random = new Random(seed);
  const W = new Float32Array(m * n);
  const side = Math.min(m, n);
  for (let k = 0; k < side; k += 1) {
    const s = k < 8 ? 10 - k : 1 / k;
    const [u, v] = [m, n].map((size) =>
      Array.from({ length: size }, () => random.normal() / Math.sqrt(size)),
    );
    for (let i = 0; i < m; i += 1) for (let j = 0; j < n; j += 1) W[i * n + j]! += s * u![i]! * v![j]!;
  }
  return W;
}

/** ‖W − U S Vᵀ‖² */
function rest(W: Float32Array, m: number, n: number, { U, S, V }: Svd): number {
  let sum = 0;
  for (let i = 0; i < m; i += 1) {
    for (let j = 0; j < n; j += 1) {
      let value = W[i * n + j]!;
      for (let k = 0; k < S.length; k += 1) value -= U[k]![i]! * S[k]! * V[k]![j]!;
      sum += value * value;
    }
  }
  return sum;
}

describe.each([
  [12, 20],
  [20, 12],
  [150, 130],
])("%i × %i", (m, n) => {
  const W = matrix(m, n, 3);
  const square = W.reduce((sum, v) => sum + v * v, 0);

  test("all singular values give the matrix back", () => {
    const whole = truncatedSvd(W, m, n, Math.min(m, n), m > 96 ? { iterations: 2 } : {});
    expect(rest(W, m, n, whole)).toBeLessThan(1e-9 * square);
  });

  test("what the largest leave is the sum of the squares of the others", () => {
    const all = truncatedSvd(W, m, n, Math.min(m, n), m > 96 ? { iterations: 2 } : {}).S;
    const part = truncatedSvd(W, m, n, 5);
    for (let k = 0; k < 5; k += 1) expect(part.S[k]!).toBeCloseTo(all[k]!, 5);
    const tail = all.slice(5).reduce((sum, s) => sum + s * s, 0);
    expect(Math.abs(rest(W, m, n, part) - tail)).toBeLessThan(1e-5 * square);
  });

  test("a rough one is near", () => {
    const part = truncatedSvd(W, m, n, 5, { iterations: 3 });
    expect(part.S[0]!).toBeCloseTo(truncatedSvd(W, m, n, 5).S[0]!, 1);
  });

  test("Q R is the projection to the first columns", () => {
    const { Q, R } = leadingQr(W, m, n, 4);
    for (let i = 0; i < m; i += 1) {
      for (let j = 0; j < 4; j += 1) {
        const value = Q.reduce((sum, q, k) => sum + q[i]! * R[k]![j]!, 0);
        expect(value).toBeCloseTo(W[i * n + j]!, 5);
      }
    }
    for (const [a, x] of Q.entries())
      for (const [b, y] of Q.entries())
        expect(x.reduce((sum, v, i) => sum + v * y[i]!, 0)).toBeCloseTo(a === b ? 1 : 0, 10);
  });
});
