import { expect, test } from "vitest";
import { planWords } from "../text/cloze-plan.js";
import { classScores, tokenSlopes, type WordCombination } from "./word-scores.js";

const plan = planWords([
  {
    label: "a",
    words: [
      { text: "", ids: [4] },
      { text: "", ids: [5, 6] },
    ],
  },
  { label: "b", words: [{ text: "", ids: [5, 7, 4] }] },
]);
const size = plan.reads.length * plan.columns.length;
const tokens = Float32Array.from({ length: 2 * size }, (_, i) => Math.sin(3 * i));

test("the mean of words, and the sum of their probabilities", () => {
  const at = (row: number, read: number, id: number): number =>
    tokens[(row * plan.reads.length + read) * plan.columns.length + plan.columns.indexOf(id)]!;
  const scores = (more: Partial<WordCombination>) =>
    classScores(tokens, { plan, combineWords: "mean", lengthNormalization: false, ...more });
  const [one, two, three] = [at(1, 0, 4), at(1, 0, 5) + at(1, 1, 6), at(1, 0, 5) + at(1, 1, 7) + at(1, 2, 4)];
  expect(scores({})[2]).toBeCloseTo((one + two) / 2, 5);
  expect(scores({})[3]).toBeCloseTo(three, 5);
  expect(scores({ combineWords: "sum" })[2]).toBeCloseTo(Math.log(Math.exp(one) + Math.exp(two)), 5);
  expect(scores({ lengthNormalization: true })[2]).toBeCloseTo((one + two / 2) / 2, 5);
  expect(scores({ lengthNormalization: true })[3]).toBeCloseTo(three / 3, 5);
});

test.each([
  ["mean", false],
  ["mean", true],
  ["sum", false],
  ["sum", true],
] as const)("slopes of %s, divided by length: %s", (combineWords, lengthNormalization) => {
  const combination = { plan, combineWords, lengthNormalization };
  const slopes = Float32Array.from([0.7, -0.3, -1.1, 0.4]);
  const value = (at: Float32Array): number =>
    classScores(at, combination).reduce((sum, score, i) => sum + score * slopes[i]!, 0);
  const found = tokenSlopes(tokens, slopes, combination);
  for (const i of tokens.keys()) {
    const moved = (by: number): number => value(tokens.map((x, j) => (i === j ? x + by : x)));
    expect(found[i]).toBeCloseTo((moved(0.01) - moved(-0.01)) / 0.02, 3);
  }
});
