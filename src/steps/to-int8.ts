import { type HostTensor, hostTensor } from "../base/host-tensor.js";
import { kernelsAtOnce } from "./at-once.js";

/** A matrix in whole numbers of 8 bits: codes (in, out), and a scale for each column. */
export interface Int8Matrix {
  readonly codes: HostTensor;
  readonly scales: HostTensor;
}

/** A frozen weight S (R, C) as it stands, or turned. */
export type Int8Side = "asStored" | "turned";

/** Sides of a weight in 8 bits, each with scales for its own columns. */
export type Int8Weight<Side extends Int8Side = Int8Side> = Readonly<Record<Side, Int8Matrix>>;

/** The largest code of a weight: 127, or 64 on processors that cut off sums of two larger products. */
export type LargestInt8 = 127 | 64;

/** Numbers that are rounded together. */
const PIECE = 2 ** 20;

/** Rows that the kernel turns together. */
const GROUP = 16;

const FLOAT = Float32Array.BYTES_PER_ELEMENT;

const factorsOf = (scales: Float32Array): Float32Array => scales.map((size) => (size === 0 ? 0 : 1 / size));

/** Rounds every column of S to so many steps of its largest magnitude, in a copy of S as it stands, and every row of it in a turned copy. */
export function toInt8<Side extends Int8Side>(
  data: Float32Array,
  [rows, columns]: readonly [number, number],
  steps: LargestInt8,
  sides: readonly Side[],
  room: (bytes: number) => Int8Array = (bytes) => new Int8Array(bytes),
): Int8Weight<Side> {
  const kernels = kernelsAtOnce();
  const { arena } = kernels;
  const most = Math.min(rows, Math.max(GROUP, Math.floor(PIECE / columns / GROUP) * GROUP));
  const numbers = kernels.room("numbers", most * columns * FLOAT);
  const codes = kernels.room("codes", most * columns);
  const [byRow, byColumn] = [
    kernels.room("by row", rows * FLOAT),
    kernels.room("by column", columns * FLOAT),
  ];
  // A matrix of one piece stays there.
  let held = -1;
  const pieces = (use: (row: number, count: number) => void): void => {
    for (let row = 0; row < rows; row += most) {
      const count = Math.min(most, rows - row);
      if (row !== held)
        arena.floats(numbers, count * columns).set(data.subarray(row * columns, (row + count) * columns));
      held = row;
      use(row, count);
    }
  };
  arena.floats(byColumn, columns).fill(0);
  pieces((row, count) => kernels.run("magnitudes", [numbers, columns, byRow + row * FLOAT, byColumn], count));
  const largest = {
    asStored: arena.floats(byColumn, columns).slice(),
    turned: arena.floats(byRow, rows).slice(),
  };
  const made: Partial<Record<Int8Side, Int8Matrix>> = {};
  for (const side of sides) {
    const scales = largest[side].map((size) => size / steps);
    const factors = side === "asStored" ? byColumn : byRow;
    arena.floats(factors, scales.length).set(factorsOf(scales));
    const all = room(data.length);
    pieces((row, count) => {
      const bytes = new Int8Array(arena.memory.buffer, codes, count * columns);
      if (side === "asStored") {
        kernels.run("codesAsStored", [numbers, columns, factors, codes], count);
        all.set(bytes, row * columns);
      } else {
        const words = [numbers, columns, factors + row * FLOAT, codes, count];
        kernels.run("codesTurned", words, Math.ceil(count / GROUP));
        if (count === rows) all.set(bytes);
        else
          for (let c = 0; c < columns; c += 1)
            all.set(bytes.subarray(c * count, (c + 1) * count), c * rows + row);
      }
    });
    const dims = side === "asStored" ? [rows, columns] : [columns, rows];
    made[side] = {
      codes: hostTensor("int8", dims, all),
      scales: hostTensor("float32", dims.slice(1), scales),
    };
  }
  return made as Int8Weight<Side>;
}
