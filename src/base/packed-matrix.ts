import type { ByteMatrix } from "./byte-matrix.js";
import { type HostTensor, hostTensor } from "./host-tensor.js";

/**
 * How a matrix W (out, in) is kept in blocks along its rows, with codes of 4 bits. Codes of 8 bits are two such digits:
 * W = Σ_p scale_p (code_p − 8) + offset, with one scale a digit and one offset for each block.
 */
export interface Packing {
  /** Values of one block. */
  readonly blockSize: number;
  /** Digits of a code. */
  readonly digits: 1 | 2;
  /** Whether blocks have offsets; without them all are zero. */
  readonly offsets: boolean;
  /** Whether the offset of a block is a whole multiple of its scale, so that signed bytes hold the same numbers as two digits. */
  readonly symmetric?: boolean;
}

/** A matrix in blocks. */
export interface PackedMatrix {
  /** Codes (out, in / block, block / 2) uint8, the earlier value in the low half; scales (out, in / block). */
  readonly digits: readonly { readonly codes: HostTensor; readonly scales: HostTensor }[];
  /** (out, in / block) */
  readonly offsets: HostTensor | undefined;
}

/** A tensor of a matrix in blocks. */
export type PackedPart = `codes ${number}` | `scales ${number}` | "offsets";

/** The tensors of a matrix in blocks, by name. */
export function packedParts({ digits, offsets }: PackedMatrix): Map<PackedPart, HostTensor> {
  const parts = new Map<PackedPart, HostTensor>();
  for (const [digit, { codes, scales }] of digits.entries())
    parts.set(`codes ${digit}`, codes).set(`scales ${digit}`, scales);
  if (offsets !== undefined) parts.set("offsets", offsets);
  return parts;
}

/** Blocks of a file as they stand there. */
export interface RawBlocks {
  /** The number of their kind in ggml. */
  readonly kind: number;
  readonly bytesPerRow: number;
  /** Fills memory with those of the rows from here on, in the order of the matrix. */
  copy(out: Uint8Array, firstRow: number): void;
}

/** A matrix that a file keeps in blocks. */
export interface StoredBlocks {
  readonly packing: Packing;
  readonly raw: RawBlocks;
  read(): PackedMatrix;
  /** The matrix with a byte for each code. */
  readBytes(): ByteMatrix;
  /** Some of its rows as float32, one after another. */
  rows(indices: Int32Array): Float32Array;
}

/** Codes and scales of some values, before they are packed: w = scale · code + offset, a scale for each block. */
export interface BlockCodes {
  readonly codes: Uint8Array;
  readonly scales: Float32Array;
  readonly offsets: Float32Array;
}

/** Room for the codes of one row. */
export const rowCodes = (width: number, { blockSize }: Packing): BlockCodes => ({
  codes: new Uint8Array(width),
  scales: new Float32Array(width / blockSize),
  offsets: new Float32Array(width / blockSize),
});

/** What codes without offsets are read less by: 8 in each digit. */
export const centreOf = ({ digits }: Packing): number => (digits === 1 ? 8 : 8 * 17);

/** Puts four bits of each code into half a byte, the earlier code in the low half. */
function packDigit(codes: Uint8Array, shift: number, packed: Uint8Array, from: number): void {
  for (let i = 0, to = from; i < codes.length; i += 2, to += 1) {
    const pair = codes[i]! | (codes[i + 1]! << 8);
    const bits = (pair >> shift) & 0x0f0f;
    packed[to] = bits | (bits >> 4);
  }
}

/**
 * Packs a matrix row by row; `read` fills in the codes of one row. For codes of 4 bits `pack` may put them where they belong, two in a byte, and fill in
 * scales and offsets alone.
 */
export function packMatrix(
  [rows, width]: readonly [number, number],
  packing: Packing,
  read: (row: number, into: BlockCodes) => void,
  pack?: (row: number, codes: Uint8Array, to: number, into: BlockCodes) => void,
): PackedMatrix {
  const { blockSize, digits, offsets: hasOffsets } = packing;
  const blocks = width / blockSize;
  const into = rowCodes(width, packing);
  const codes = Array.from({ length: digits }, () => new Uint8Array((rows * width) / 2));
  const scales = Array.from({ length: digits }, () => new Float32Array(rows * blocks));
  const offsets = new Float32Array(hasOffsets ? rows * blocks : 0);
  // Codes are read less that, so the offset takes it back.
  const centre = centreOf(packing);
  for (let row = 0; row < rows; row += 1) {
    const to = (row * width) / 2;
    if (pack === undefined) read(row, into);
    else pack(row, codes[0]!, to, into);
    for (const [digit, packed] of codes.entries()) {
      if (pack === undefined) packDigit(into.codes, 4 * digit, packed, to);
      for (let b = 0; b < blocks; b += 1) scales[digit]![row * blocks + b] = into.scales[b]! * 16 ** digit;
    }
    if (!hasOffsets) continue;
    for (let b = 0; b < blocks; b += 1)
      offsets[row * blocks + b] = into.offsets[b]! + centre * into.scales[b]!;
  }
  return {
    digits: codes.map((packed, digit) => ({
      codes: hostTensor("uint8", [rows, blocks, blockSize / 2], packed),
      scales: hostTensor("float32", [rows, blocks], scales[digit]!),
    })),
    offsets: hasOffsets ? hostTensor("float32", [rows, blocks], offsets) : undefined,
  };
}
