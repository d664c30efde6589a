import { expect, test } from "vitest";
import { toInt8 } from "./to-int8.js";

/** The same one number after another. */
function reference(data: Float32Array, rows: number, columns: number, steps: number) {
  const at = (r: number, c: number): number => data[r * columns + c]!;
  const largest = (count: number, value: (i: number) => number): number =>
    Math.max(...Array.from({ length: count }, (_, i) => Math.abs(value(i))));
  const scalesOf = (lines: number, count: number, value: (line: number, i: number) => number) =>
    Float32Array.from({ length: lines }, (_, line) => largest(count, (i) => value(line, i)) / steps);
  const byColumn = scalesOf(columns, rows, (c, r) => at(r, c));
  const byRow = scalesOf(rows, columns, at);
  const nearest = (value: number): number => {
    const low = Math.floor(value);
    return value - low === 0.5 ? low + (low & 1) : Math.round(value);
  };
  const code = (value: number, scale: number): number =>
    scale === 0 ? 0 : nearest(Math.fround(value * Math.fround(1 / scale)));
  return {
    asStored: {
      scales: byColumn,
      codes: Int8Array.from(data, (value, i) => code(value, byColumn[i % columns]!)),
    },
    turned: {
      scales: byRow,
      codes: Int8Array.from(data, (_, i) => {
        const [c, r] = [Math.floor(i / rows), i % rows];
        return code(at(r, c), byRow[r]!);
      }),
    },
  };
}

test.each([
  [3, 5, 127],
  [16, 16, 64],
  [33, 23, 127],
  // Three pieces, the last of them short.
  [2100, 1001, 127],
] as const)("%i rows of %i numbers in %i steps are what they are one by one", (rows, columns, steps) => {
  const data = Float32Array.from({ length: rows * columns }, (_, i) => Math.sin(i * i) * (1 + (i % 7)));
  // A row and a column of zeros.
  data.fill(0, columns, 2 * columns);
  for (let r = 0; r < rows; r += 1) data[r * columns + 2] = 0;
  const expected = reference(data, rows, columns, steps);
  const made = toInt8(data, [rows, columns], steps, ["asStored", "turned"]);
  for (const side of ["asStored", "turned"] as const) {
    expect(made[side].codes.dims).toEqual(side === "turned" ? [columns, rows] : [rows, columns]);
    const { codes, scales } = made[side];
    expect((codes.data as Int8Array).findIndex((value, i) => value !== expected[side].codes[i])).toBe(-1);
    expect(scales.data).toEqual(expected[side].scales);
  }
});
