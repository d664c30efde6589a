import { expect, test } from "vitest";
import { IncrementalPca } from "./incremental-pca.js";
import { Random } from "./random.js";

/** Rows with more variance in the first columns, around a mean that is not zero. */
function rows(count: number, width: number, random: Random): Float32Array {
  return Float32Array.from({ length: count * width }, (_, i) => 3 + random.normal() / (1 + (i % width)));
}

test("batches of all directions give what all rows give at once", () => {
  const [n, m] = [6, 20];
  const random = new Random(1);
  const all = rows(3 * m, n, random);
  const [whole, parts] = [new IncrementalPca(n), new IncrementalPca(n)];
  whole.fit(all, 3 * m, n);
  for (let part = 0; part < 3; part += 1) parts.fit(all.subarray(part * m * n, (part + 1) * m * n), m, n);
  for (let k = 0; k < n; k += 1) {
    expect(parts.explained[k]).toBeCloseTo(whole.explained[k]!, 6);
    expect(parts.singularValues[k]).toBeCloseTo(whole.singularValues[k]!, 4);
    for (let j = 0; j < n; j += 1) expect(parts.components[k]![j]).toBeCloseTo(whole.components[k]![j]!, 4);
  }
  expect(whole.explained.reduce((sum, share) => sum + share, 0)).toBeCloseTo(1, 6);
});

test("the direction that explains most comes first", () => {
  const pca = new IncrementalPca(2);
  pca.fit(rows(200, 5, new Random(2)), 200, 5);
  expect(Math.abs(pca.components[0]![0]!)).toBeGreaterThan(0.95);
  expect(Math.abs(pca.components[1]![1]!)).toBeGreaterThan(0.9);
  expect(pca.explained[0]).toBeGreaterThan(pca.explained[1]!);
});
