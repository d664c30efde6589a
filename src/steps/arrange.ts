/** Rows of a matrix in blocks that kernels read together, next to each other in memory. */
export const TOGETHER = 8;

/** Rows with those that are added, so that they fill groups. */
export const filledRows = (rows: number): number => Math.ceil(rows / TOGETHER) * TOGETHER;

/** The low halves of four bytes as 16 bits. */
function lowHalves(word: number): number {
  const pairs = (word & 0x0f0f0f0f) | ((word & 0x0f0f0f0f) >>> 4);
  return (pairs & 0xff) | ((pairs >>> 8) & 0xff00);
}

/**
 * Puts codes of 4 bits, two in a byte, the earlier in the low half, in the order in which the kernel reads them (`kernels/blocks.ts`): for
 * each group of eight rows, each eight numbers of a row, and each half of the group, 4 bytes of every row.
 *
 * @param codes - of some rows
 * @param firstRow - where they belong in the whole matrix
 */
export function arrangeNibbles(codes: Uint8Array, rows: number, firstRow: number, out: Uint8Array): void {
  const bytes = codes.length / rows;
  const words = bytes / 4;
  const from = new Uint32Array(codes.buffer, codes.byteOffset, rows * words);
  const to = new Uint32Array(out.buffer, out.byteOffset, out.length / 4);
  for (let r = 0; r < rows; r += 1) {
    const row = firstRow + r;
    const lane = row % TOGETHER;
    let at = (row - lane) * words + (lane >> 2) * 4 + (lane & 3);
    for (let i = r * words; i < (r + 1) * words; i += 1) {
      const word = from[i]!;
      to[at] = lowHalves(word) | (lowHalves(word >>> 4) << 16);
      at += TOGETHER;
    }
  }
}

/** Puts codes of 8 bits, which are read less 128, in the order of the kernel as signed bytes: for each group of eight rows and each two numbers, those of every row. */
export function arrangeBytes(codes: Uint8Array, rows: number, firstRow: number, out: Uint8Array): void {
  const pairs = codes.length / rows / 2;
  const from = new Uint16Array(codes.buffer, codes.byteOffset, rows * pairs);
  const to = new Uint16Array(out.buffer, out.byteOffset, out.length / 2);
  for (let r = 0; r < rows; r += 1) {
    const row = firstRow + r;
    const lane = row % TOGETHER;
    let at = (row - lane) * pairs + lane;
    for (let i = r * pairs; i < (r + 1) * pairs; i += 1) {
      to[at] = from[i]! ^ 0x8080;
      at += TOGETHER;
    }
  }
}

/** Puts a number for each block in the order of the kernel: for each group of eight rows and each block, those of every row. */
export function arrangeNumbers(numbers: Float32Array, rows: number, firstRow: number, out: Uint8Array): void {
  const blocks = numbers.length / rows;
  const to = new Float32Array(out.buffer, out.byteOffset, out.length / 4);
  for (let r = 0; r < rows; r += 1) {
    const row = firstRow + r;
    const lane = row % TOGETHER;
    let at = (row - lane) * blocks + lane;
    for (let i = r * blocks; i < (r + 1) * blocks; i += 1) {
      to[at] = numbers[i]!;
      at += TOGETHER;
    }
  }
}

/** What a tensor of a matrix in blocks holds. */
export type BlockTensor = "nibbles" | "bytes" | "numbers";

/** Puts the tensor of some rows where it belongs in that of a whole matrix, as kernels read it. */
export function arrange(
  kind: BlockTensor,
  data: ArrayBufferView<ArrayBufferLike>,
  rows: number,
  firstRow: number,
  out: Uint8Array,
): void {
  const { buffer, byteOffset, byteLength } = data;
  if (kind === "numbers")
    arrangeNumbers(new Float32Array(buffer as ArrayBuffer, byteOffset, byteLength / 4), rows, firstRow, out);
  else {
    const codes = new Uint8Array(buffer as ArrayBuffer, byteOffset, byteLength);
    (kind === "nibbles" ? arrangeNibbles : arrangeBytes)(codes, rows, firstRow, out);
  }
}
