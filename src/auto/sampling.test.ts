import { expect, test } from "vitest";
import { Random } from "../base/random.js";
import { chooseToken, type SamplingOptions } from "./sampling.js";

const plain: SamplingOptions = { temperature: 1, topK: 0, topP: 1, repetitionPenalty: 1 };
const scores = [2, 1, 0, -1, 1.5];

/** Share of each token over many draws. */
function shares(options: Partial<SamplingOptions>, history: number[] = []): number[] {
  const random = new Random(1);
  const counts = scores.map(() => 0);
  const draws = 20_000;
  for (let i = 0; i < draws; i += 1)
    counts[chooseToken(Float32Array.from(scores), history, { ...plain, ...options }, random)]! += 1;
  return counts.map((count) => count / draws);
}

const softmax = (values: number[]): number[] => {
  const total = values.reduce((sum, v) => sum + Math.exp(v), 0);
  return values.map((v) => Math.exp(v) / total);
};
const near = (actual: number[], expected: number[]): void => {
  for (const [i, value] of expected.entries()) expect(actual[i]!).toBeCloseTo(value, 1.6);
};

test("temperature", () => {
  near(shares({}), softmax(scores));
  near(shares({ temperature: 0.5 }), softmax(scores.map((v) => v / 0.5)));
  expect(shares({ temperature: 0 })[0]).toBe(1);
});

test("top-k keeps the likeliest few", () => {
  near(shares({ topK: 2 }), [...softmax([2, 1.5]).slice(0, 1), 0, 0, 0, softmax([2, 1.5])[1]!]);
});

test("top-p keeps the fewest that hold the share", () => {
  const all = softmax(scores);
  const kept = shares({ topP: all[0]! + 0.01 });
  near(kept, [...softmax([2, 1.5]).slice(0, 1), 0, 0, 0, softmax([2, 1.5])[1]!]);
  expect(shares({ topP: 0.01 })[0]).toBe(1);
});

test("the repetition penalty divides what is above zero and multiplies what is below", () => {
  near(shares({ repetitionPenalty: 2 }, [0, 0, 3]), softmax([1, 1, 0, -2, 1.5]));
});
