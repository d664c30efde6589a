import { type HostTensor, hostTensor } from "./host-tensor.js";
import { type BlockCodes, centreOf, type Packing, rowCodes } from "./packed-matrix.js";

/** A matrix W (out, in) in blocks with codes of 8 bits: W = scale (code − 128). */
export interface ByteMatrix {
  /** (out, in / block, block) uint8 */
  readonly bytes: HostTensor;
  /** (out, in / block) */
  readonly scales: HostTensor;
}

/** The tensors of such a matrix, by name. */
export type BytePart = `byte ${keyof ByteMatrix}`;

export const byteParts = ({ bytes, scales }: ByteMatrix): Map<string, HostTensor> =>
  new Map<BytePart, HostTensor>([
    ["byte bytes", bytes],
    ["byte scales", scales],
  ]);

/** Largest code less 128. */
const LARGEST = 127;

/** The whole number that w / scale differs from its code by, or undefined where there is none or codes would not be bytes. */
function shiftOf(codes: Uint8Array, scale: number, offset: number): number | undefined {
  const exact = offset / scale;
  const shift = Math.round(exact);
  if (!(Math.abs(exact - shift) < 1e-4)) return undefined;
  const fits = codes.every((code) => code + shift >= -128 && code + shift <= LARGEST);
  return fits ? shift : undefined;
}

/**
 * A matrix that is kept in blocks with codes of more than 4 bits, with one byte a code: as it is where blocks are symmetric, and else
 * rounded to 1/127 of the largest magnitude of each block. `read` fills in the codes of one row.
 */
export function byteMatrix(
  [rows, width]: readonly [number, number],
  packing: Packing,
  read: (row: number, into: BlockCodes) => void,
): ByteMatrix {
  const { blockSize, offsets, symmetric = false } = packing;
  const blocks = width / blockSize;
  const into = rowCodes(width, packing);
  const bytes = new Uint8Array(rows * width);
  const scales = new Float32Array(rows * blocks);
  const centre = centreOf(packing);
  for (let row = 0; row < rows; row += 1) {
    read(row, into);
    for (let b = 0; b < blocks; b += 1) {
      const scale = into.scales[b]!;
      const offset = offsets ? into.offsets[b]! : -centre * scale;
      if (symmetric) {
        scales[row * blocks + b] = scale;
        const shift = (scale === 0 ? 0 : Math.round(offset / scale)) + 128;
        const to = row * width;
        for (let i = b * blockSize; i < (b + 1) * blockSize; i += 1) bytes[to + i] = into.codes[i]! + shift;
        continue;
      }
      const codes = into.codes.subarray(b * blockSize, (b + 1) * blockSize);
      const out = bytes.subarray(row * width + b * blockSize, row * width + (b + 1) * blockSize);
      scales[row * blocks + b] = toBytes(codes, scale, offset, out);
    }
  }
  return {
    bytes: hostTensor("uint8", [rows, blocks, blockSize], bytes),
    scales: hostTensor("float32", [rows, blocks], scales),
  };
}

/** Writes the bytes of a block w = scale · code + offset and returns their scale. */
function toBytes(codes: Uint8Array, scale: number, offset: number, out: Uint8Array): number {
  const shift = shiftOf(codes, scale, offset);
  if (shift !== undefined) {
    for (let i = 0; i < out.length; i += 1) out[i] = codes[i]! + shift + 128;
    return scale;
  }
  let largest = 0;
  for (const code of codes) largest = Math.max(largest, Math.abs(scale * code + offset));
  const factor = largest === 0 ? 0 : LARGEST / largest;
  // Adding a half more than 128 rounds, since what is cut off then is never negative.
  for (let i = 0; i < out.length; i += 1) out[i] = (scale * codes[i]! + offset) * factor + 128.5;
  return largest / LARGEST;
}
