import { asFloat32 } from "../base/half.js";
import { type HostTensor, hostTensor } from "../base/host-tensor.js";
import type { Parameter } from "./parameter.js";

/** A matrix in whole numbers of 8 bits: codes (in, out), and a scale for each column. */
export interface Int8Matrix {
  readonly codes: HostTensor;
  readonly scales: HostTensor;
}

/** A frozen weight S (R, C) as it stands, or turned. */
export type Int8Side = "asStored" | "turned";

/** Sides of a weight in 8 bits, each with scales for its own columns. */
export type Int8Weight<Side extends Int8Side = Int8Side> = Readonly<Record<Side, Int8Matrix>>;

/** The tensors of a weight in 8 bits. */
export type Int8Part = `${Int8Side} ${keyof Int8Matrix}`;

/** The largest code of a weight: 127, or 64 on processors that cut off sums of two larger products. */
export type LargestInt8 = 127 | 64;

/** Weights in 8 bits, each made at its first use and kept. */
export class Int8Weights {
  readonly #weights = new WeakMap<Parameter, Partial<Int8Weight>>();

  constructor(readonly largest: LargestInt8) {}

  /** Makes sides of a weight that are not there yet, together: of its tensor where that is at hand, or decoding it once. */
  make(parameter: Parameter, sides: readonly Int8Side[], tensor?: HostTensor): void {
    const known = this.#weights.get(parameter) ?? {};
    const missing = sides.filter((side) => known[side] === undefined);
    if (missing.length === 0) return;
    const shape = parameter.shape as readonly [number, number];
    const round = (one: HostTensor): Int8Weight<never> =>
      toInt8(asFloat32(one), shape, this.largest, missing);
    const made = tensor === undefined ? parameter.readOnce(round) : round(tensor);
    this.#weights.set(parameter, { ...known, ...made });
  }

  /** The tensor of a weight that a graph reads. */
  tensor(parameter: Parameter, part: Int8Part): HostTensor {
    const [side, what] = part.split(" ") as [Int8Side, keyof Int8Matrix];
    this.make(parameter, [side]);
    return this.#weights.get(parameter)![side]![what];
  }
}

/** A float64 this large has no places after the point, so adding it rounds to whole numbers, halves to even ones. */
const ROUND = 1.5 * 2 ** 52;

/** Rows and columns that are turned together, so that both sides stay in the cache. */
const TILE = 64;

/** The largest magnitudes of rows and of columns. */
function largestOf(
  data: Float32Array,
  rows: number,
  columns: number,
): Readonly<Record<Int8Side, Float32Array>> {
  const [byRow, byColumn] = [new Float32Array(rows), new Float32Array(columns)];
  for (let r = 0; r < rows; r += 1) {
    let largest = 0;
    for (let c = 0; c < columns; c += 1) {
      const size = Math.abs(data[r * columns + c]!);
      if (size > largest) largest = size;
      if (size > byColumn[c]!) byColumn[c] = size;
    }
    byRow[r] = largest;
  }
  return { asStored: byColumn, turned: byRow };
}

const factorsOf = (scales: Float32Array): Float32Array => scales.map((size) => (size === 0 ? 0 : 1 / size));

/** Rounds every column of S to so many steps of its largest magnitude, in a copy of S as it stands, and every row of it in a turned copy. */
export function toInt8<Side extends Int8Side>(
  data: Float32Array,
  [rows, columns]: readonly [number, number],
  steps: LargestInt8,
  sides: readonly Side[],
): Int8Weight<Side> {
  const largest = largestOf(data, rows, columns);
  const made: Partial<Record<Int8Side, Int8Matrix>> = {};
  for (const side of sides) {
    const scales = largest[side].map((size) => size / steps);
    const codes = new Int8Array(data.length);
    if (side === "asStored") roundAsStored(data, columns, factorsOf(scales), codes);
    else roundTurned(data, rows, columns, factorsOf(scales), codes);
    const dims = side === "asStored" ? [rows, columns] : [columns, rows];
    made[side] = {
      codes: hostTensor("int8", dims, codes),
      scales: hostTensor("float32", dims.slice(1), scales),
    };
  }
  return made as Int8Weight<Side>;
}

function roundAsStored(data: Float32Array, columns: number, factors: Float32Array, codes: Int8Array): void {
  for (let start = 0; start < data.length; start += columns)
    for (let c = 0; c < columns; c += 1)
      codes[start + c] = (data[start + c]! * factors[c]! + ROUND - ROUND) | 0;
}

function roundTurned(
  data: Float32Array,
  rows: number,
  columns: number,
  factors: Float32Array,
  codes: Int8Array,
): void {
  for (let r = 0; r < rows; r += TILE) {
    for (let c = 0; c < columns; c += TILE) {
      const [lastRow, lastColumn] = [Math.min(r + TILE, rows), Math.min(c + TILE, columns)];
      for (let i = r; i < lastRow; i += 1) {
        const factor = factors[i]!;
        const start = i * columns;
        for (let j = c; j < lastColumn; j += 1)
          codes[j * rows + i] = (data[start + j]! * factor + ROUND - ROUND) | 0;
      }
    }
  }
}
