import { expect, test } from "vitest";
import { Random } from "./random.js";
import { smallestSvd } from "./smallest-svd.js";
import { truncatedSvd } from "./svd.js";

const dot = (a: ArrayLike<number>, b: ArrayLike<number>): number =>
  Array.from(a, (value, i) => value * b[i]!).reduce((sum, value) => sum + value, 0);

test.each([
  [12, 30],
  [30, 12],
  [110, 130],
  [130, 110],
])("%i × %i: W v = σ u for the smallest σ, the smallest last", (m, n) => {
  const random = new Random(m);
  const W = Float32Array.from({ length: m * n }, () => random.normal());
  const r = 3;
  const { U, S, V } = smallestSvd(W, m, n, r);
  const all = truncatedSvd(W, m, n, Math.min(m, n)).S;
  expect(S.length).toBe(r);
  for (let k = 0; k < r; k += 1) {
    expect(S[k]).toBeCloseTo(all[all.length - r + k]!, 3);
    expect(dot(U[k]!, U[k]!)).toBeCloseTo(1, 6);
    expect(dot(V[k]!, V[k]!)).toBeCloseTo(1, 6);
    for (let i = 0; i < m; i += 1)
      expect(dot(W.subarray(i * n, (i + 1) * n), V[k]!)).toBeCloseTo(S[k]! * U[k]![i]!, 3);
  }
});
