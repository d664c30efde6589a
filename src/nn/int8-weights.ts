import { asFloat32 } from "../base/half.js";
import { type HostTensor, hostTensor } from "../base/host-tensor.js";
import type { Parameter } from "./parameter.js";

/** A matrix in whole numbers of 8 bits: codes (in, out), and a scale for each column. */
export interface Int8Matrix {
  readonly codes: HostTensor;
  readonly scales: HostTensor;
}

/** A frozen weight S (R, C) in 8 bits, as it stands and turned, each with scales for its own columns. */
export interface Int8Weight {
  readonly asStored: Int8Matrix;
  readonly turned: Int8Matrix;
}

/** The tensors of a weight in 8 bits. */
export type Int8Part = `${keyof Int8Weight} ${keyof Int8Matrix}`;

/** The largest code of a weight: 127, or 64 on processors that cut off sums of two larger products. */
export type LargestInt8 = 127 | 64;

/** Weights in 8 bits, each made at its first use and kept. */
export class Int8Weights {
  readonly #weights = new WeakMap<Parameter, Int8Weight>();

  constructor(readonly largest: LargestInt8) {}

  of(parameter: Parameter): Int8Weight {
    let known = this.#weights.get(parameter);
    if (known === undefined) {
      const shape = parameter.shape as readonly [number, number];
      known = parameter.readOnce((tensor) => toInt8(asFloat32(tensor), shape, this.largest));
      this.#weights.set(parameter, known);
    }
    return known;
  }

  /** The tensor of a weight that a graph reads. */
  tensor(parameter: Parameter, part: Int8Part): HostTensor {
    const [which, what] = part.split(" ") as [keyof Int8Weight, keyof Int8Matrix];
    return this.of(parameter)[which][what];
  }
}

/** A float64 this large has no places after the point, so adding it rounds to whole numbers, halves to even ones. */
const ROUND = 1.5 * 2 ** 52;

/** Rows and columns that are turned together, so that both sides stay in the cache. */
const TILE = 64;

/** Rounds every row and every column of S to so many steps of its largest magnitude. */
export function toInt8(
  data: Float32Array,
  [rows, columns]: readonly [number, number],
  steps: LargestInt8 = 127,
): Int8Weight {
  const byRow = new Float32Array(rows);
  const byColumn = new Float32Array(columns);
  for (let r = 0; r < rows; r += 1) {
    let largest = 0;
    for (let c = 0; c < columns; c += 1) {
      const size = Math.abs(data[r * columns + c]!);
      if (size > largest) largest = size;
      if (size > byColumn[c]!) byColumn[c] = size;
    }
    byRow[r] = largest;
  }
  const scale = (largest: Float32Array): Float32Array => largest.map((size) => size / steps);
  const factor = (scales: Float32Array): Float32Array => scales.map((size) => (size === 0 ? 0 : 1 / size));
  const [rowScales, columnScales] = [scale(byRow), scale(byColumn)];
  const [rowFactors, columnFactors] = [factor(rowScales), factor(columnScales)];
  const asStored = new Int8Array(data.length);
  const turned = new Int8Array(data.length);
  for (let r = 0; r < rows; r += TILE) {
    for (let c = 0; c < columns; c += TILE) {
      const [lastRow, lastColumn] = [Math.min(r + TILE, rows), Math.min(c + TILE, columns)];
      for (let i = r; i < lastRow; i += 1) {
        const rowFactor = rowFactors[i]!;
        const start = i * columns;
        for (let j = c; j < lastColumn; j += 1) {
          const value = data[start + j]!;
          asStored[start + j] = (value * columnFactors[j]! + ROUND - ROUND) | 0;
          turned[j * rows + i] = (value * rowFactor + ROUND - ROUND) | 0;
        }
      }
    }
  }
  return {
    asStored: {
      codes: hostTensor("int8", [rows, columns], asStored),
      scales: hostTensor("float32", [columns], columnScales),
    },
    turned: {
      codes: hostTensor("int8", [columns, rows], turned),
      scales: hostTensor("float32", [rows], rowScales),
    },
  };
}
