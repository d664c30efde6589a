import { expect } from "vitest";

export interface Difference {
  readonly worst: number;
  readonly index: number;
  readonly beyond: number;
}

/** The largest |a − b| − relative |b| and where it is. */
export function difference(
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  absolute: number,
  relative: number,
): Difference {
  let [worst, index, beyond] = [0, -1, 0];
  for (let i = 0; i < expected.length; i += 1) {
    const gap = Math.abs(actual[i]! - expected[i]!);
    if (!(gap <= absolute + relative * Math.abs(expected[i]!))) beyond += 1;
    if (gap > worst || Number.isNaN(gap)) [worst, index] = [gap, i];
  }
  return { worst, index, beyond };
}

/** Compares whole tensors; the text of a failure says how far off they are, where, and how many entries. */
export function expectClose(
  what: string,
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  { absolute = 1e-4, relative = 0 }: { absolute?: number; relative?: number } = {},
): void {
  expect(actual.length, `${what}: number of entries`).toBe(expected.length);
  const { worst, index, beyond } = difference(actual, expected, absolute, relative);
  const text =
    `${what}: ${beyond} of ${expected.length} entries are off; ` +
    `the worst by ${worst} at ${index}: ${actual[index]} instead of ${expected[index]}`;
  expect(beyond, text).toBe(0);
}
