import type { RawBlocks } from "../base/packed-matrix.js";
import { kernelsAtOnce } from "./at-once.js";
import { UNPACKED } from "./products.js";

/** Numbers that are decoded together, so that they are in the cache when they are copied. */
const PIECE = 65_536;

/** Numbers of a block. */
const BLOCK = 32;

/** Whether a kernel decodes blocks of this kind. */
export const decodesBlocks = ({ kind }: Pick<RawBlocks, "kind">): boolean => UNPACKED[kind] !== undefined;

/** A matrix W (rows, width) in the blocks of a file as float32. */
export function decodeBlocks(
  { kind, bytesPerRow, copy }: RawBlocks,
  [rows, width]: readonly [number, number],
  out: Float32Array,
): void {
  const kernels = kernelsAtOnce();
  const { arena } = kernels;
  const most = Math.max(1, Math.floor(PIECE / width));
  const raw = kernels.room("raw blocks", most * bytesPerRow);
  const numbers = kernels.room("decoded", most * width * Float32Array.BYTES_PER_ELEMENT);
  for (let row = 0; row < rows; row += most) {
    const count = Math.min(most, rows - row);
    copy(arena.bytesAt(raw, count * bytesPerRow), row);
    kernels.run("decode", [raw, numbers, width / BLOCK, kind], count);
    out.set(arena.floats(numbers, count * width), row * width);
  }
}
