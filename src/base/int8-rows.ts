import type { Int8Rows } from "./coded-matrix.js";

/** Codes reach from −127 to 127. */
export const LARGEST_CODE = 127;

/** The nearest whole number; of two that are as near, the even one. */
function nearest(value: number): number {
  const rounded = Math.round(value);
  return rounded - value === 0.5 && rounded % 2 !== 0 ? rounded - 1 : rounded;
}

/** Rounds the rows of a matrix (out, width) over their largest magnitude to whole numbers of 8 bits, as LLM.int8() does. */
export function roundRows(values: Float32Array, out: number, width: number): Int8Rows {
  const codes = new Int8Array(values.length);
  const largest = new Float32Array(out);
  for (let i = 0; i < out; i += 1) {
    const row = values.subarray(i * width, (i + 1) * width);
    const size = row.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    largest[i] = size;
    if (size === 0) continue;
    // PyTorch divides a number by float32 values so; products that end in .5 depend on it.
    const factor = Math.fround(Math.fround(1 / size) * LARGEST_CODE);
    for (let j = 0; j < width; j += 1) codes[i * width + j] = nearest(Math.fround(row[j]! * factor));
  }
  return { codes, largest };
}
