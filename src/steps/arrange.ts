/** Rows of a matrix in blocks that kernels read together, next to each other in memory. */
export const TOGETHER = 8;

/** Rows with those that are added, so that they fill groups. */
export const filledRows = (rows: number): number => Math.ceil(rows / TOGETHER) * TOGETHER;

/** The low halves of four bytes as 16 bits. */
function lowHalves(word: number): number {
  const pairs = (word & 0x0f0f0f0f) | ((word & 0x0f0f0f0f) >>> 4);
  return (pairs & 0xff) | ((pairs >>> 8) & 0xff00);
}

/** Puts every element of some rows, changed, where it belongs in groups of eight rows: the first elements of all eight, the second ones, and so on. */
function interleave<A extends Uint32Array | Uint16Array | Float32Array>(
  from: A,
  to: A,
  rows: number,
  firstRow: number,
  change: (element: number) => number,
): void {
  const perRow = from.length / rows;
  for (let r = 0; r < rows; r += 1) {
    const row = firstRow + r;
    const lane = row % TOGETHER;
    let at = (row - lane) * perRow + lane;
    for (let i = r * perRow; i < (r + 1) * perRow; i += 1) {
      to[at] = change(from[i]!);
      at += TOGETHER;
    }
  }
}

/** What a tensor of a matrix in blocks holds. */
export type BlockTensor = "nibbles" | "bytes" | "numbers";

/**
 * Puts the tensor of some rows where it belongs in that of a whole matrix, as kernels read it (`kernels/blocks.ts`): of each group of eight rows
 * a number of every row, two bytes, or eight codes of 4 bits. Those come two in a byte, the earlier in the low half; bytes, which are read less 128,
 * become signed.
 *
 * @param firstRow - where the rows belong in the whole matrix
 */
export function arrange(
  kind: BlockTensor,
  data: ArrayBufferView<ArrayBufferLike>,
  rows: number,
  firstRow: number,
  out: Uint8Array<ArrayBufferLike>,
): void {
  const over = <A>(
    array: new (buffer: ArrayBufferLike, offset: number, length: number) => A,
    { buffer, byteOffset, byteLength }: ArrayBufferView<ArrayBufferLike>,
    bytes: number,
  ): A => new array(buffer, byteOffset, byteLength / bytes);
  if (kind === "numbers")
    interleave(over(Float32Array, data, 4), over(Float32Array, out, 4), rows, firstRow, (number) => number);
  else if (kind === "bytes")
    interleave(
      over(Uint16Array, data, 2),
      over(Uint16Array, out, 2),
      rows,
      firstRow,
      (pair) => pair ^ 0x8080,
    );
  else
    interleave(
      over(Uint32Array, data, 4),
      over(Uint32Array, out, 4),
      rows,
      firstRow,
      (word) => lowHalves(word) | (lowHalves(word >>> 4) << 16),
    );
}
