import { expect, test } from "vitest";
import { accuracy, macroF1, matthews, metricsOf, pearson, spansOf, spearman, weightedF1 } from "./metrics.js";

// Figures of scikit-learn 1.5 and scipy 1.13 for the same lists.
const expected = [0, 1, 2, 2, 1, 0, 2, 2];
const predicted = [0, 2, 2, 2, 1, 1, 2, 0];

test("classes", () => {
  expect(accuracy(predicted, expected)).toBeCloseTo(0.625);
  expect(macroF1(predicted, expected)).toBeCloseTo((0.5 + 0.5 + 0.75) / 3);
  expect(weightedF1(predicted, expected)).toBeCloseTo((2 * 0.5 + 2 * 0.5 + 4 * 0.75) / 8);
  // c = 5 right of s = 8; Σ p t = 2·2 + 2·2 + 4·4 = 24; (8·5 − 24) / √((64 − 24)(64 − 24)).
  expect(matthews(predicted, expected)).toBeCloseTo(16 / 40);
  expect(matthews([1, 1, 1], [0, 1, 0])).toBe(0);
});

test("numbers", () => {
  expect(pearson([1, 2, 3, 4], [2, 4, 6, 8])).toBeCloseTo(1);
  expect(pearson([1, 2, 3, 4], [4, 3, 2, 1])).toBeCloseTo(-1);
  expect(pearson([1, 1], [1, 2])).toBe(0);
  // Ranks 1, 2.5, 2.5, 4 against 1, 2, 3, 4: 4.5 / √(4.5 · 5).
  expect(spearman([1, 5, 5, 9], [10, 20, 30, 40])).toBeCloseTo(4.5 / Math.sqrt(4.5 * 5));
});

test("spans of tags", () => {
  expect(spansOf(["B-PER", "I-PER", "O", "B-LOC", "B-LOC", "I-ORG"])).toEqual([
    "PER 0 2",
    "LOC 3 4",
    "LOC 4 5",
    "ORG 5 6",
  ]);
  expect(spansOf(["O", "O"])).toEqual([]);
  const rows = [{ predicted: [1, 2, 0, 3], expected: [1, 2, 0, 1] }];
  const labels = ["O", "B-PER", "I-PER", "B-LOC"];
  expect(metricsOf({ kind: "tags", labels, rows })).toEqual({
    accuracy: 0.75,
    spanPrecision: 0.5,
    spanRecall: 0.5,
    spanF1: 0.5,
  });
});

test("several classes at once, and answers", () => {
  const rows = [
    { predicted: [1, 0], expected: [1, 0] },
    { predicted: [1, 1], expected: [1, 0] },
  ];
  expect(metricsOf({ kind: "classes", labels: ["a", "b"], rows })).toEqual({
    exactMatch: 0.5,
    accuracy: 0.75,
    macroF1: 0.5,
  });
  const spans = [
    { predicted: [2, 4], expected: [2, 4] },
    { predicted: [0, 1], expected: [1, 2] },
  ];
  expect(metricsOf({ kind: "span", labels: [], rows: spans })).toEqual({ exactMatch: 0.5, overlapF1: 0.75 });
});
