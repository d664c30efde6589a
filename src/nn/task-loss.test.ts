import { expect, test } from "vitest";
import {
  binaryCrossEntropyLoss,
  crossEntropyLoss,
  spanLoss,
  squaredErrorLoss,
  type SummedLoss,
} from "./task-loss.js";

const scores = Float32Array.from([0.5, -1.2, 2.1, 0.3, 0.9, -0.4]);

/** Compares the slope of a loss with central differences. */
function checkSlope(loss: (scores: Float32Array) => SummedLoss): void {
  const { gradient } = loss(scores);
  const step = 1e-2;
  for (let i = 0; i < scores.length; i += 1) {
    const moved = (by: number): number => loss(scores.map((value, j) => (j === i ? value + by : value))).sum;
    expect(gradient[i]!).toBeCloseTo((moved(step) - moved(-step)) / (2 * step), 3);
  }
}

test("cross-entropy", () => {
  const loss = (x: Float32Array) => crossEntropyLoss(x, [2, 0]);
  checkSlope(loss);
  const { sum, count } = crossEntropyLoss(scores, [2, -100]);
  expect(count).toBe(1);
  expect(sum).toBeCloseTo(Math.log(Math.exp(0.5) + Math.exp(-1.2) + Math.exp(2.1)) - 2.1, 5);
});

test("binary cross-entropy", () => {
  checkSlope((x) => binaryCrossEntropyLoss(x, [1, 0, 0, 1, 1, 0], 2));
  expect(binaryCrossEntropyLoss(Float32Array.of(200), [1], 1).sum).toBeCloseTo(0);
  expect(binaryCrossEntropyLoss(Float32Array.of(-200), [1], 1).sum).toBe(200);
});

test("squared error", () => {
  checkSlope((x) => squaredErrorLoss(x, [1, 0, 0, 1, 1, 0], 2));
  expect(squaredErrorLoss(Float32Array.of(3, 1), [1, 1], 2)).toMatchObject({ sum: 4, count: 2 });
});

test("spans: rows without an answer do not count", () => {
  const offsets = Int32Array.of(0, 2, 3);
  checkSlope((x) => spanLoss(x, offsets, [0, 2], [1, 2]));
  const { count, gradient } = spanLoss(scores, offsets, [0, -100], [1, -100]);
  expect(count).toBe(1);
  expect([...gradient.subarray(4)]).toEqual([0, 0]);
});
