import { codeBooks, type QuantType, Rounding } from "./code-books.js";
import { dynamicMap } from "./dynamic-map.js";

/** Largest magnitudes of blocks, themselves in codes of 8 bits: value = map[code] · absmax + offset. */
export interface NestedScales {
  readonly codes: Uint8Array;
  /** Of each block of codes. */
  readonly absmax: Float32Array;
  readonly map: Float32Array;
  readonly blockSize: number;
  readonly offset: number;
}

/** Values in codes of 4 bits as bitsandbytes keeps them: value = book[code] · absmax, with one absmax a block. */
export interface Bnb4 {
  readonly quantType: QuantType;
  readonly blockSize: number;
  /** How many values there are. */
  readonly size: number;
  /** Two codes a byte, the earlier one in the high half. */
  readonly codes: Uint8Array;
  readonly absmax: Float32Array | NestedScales;
}

/** How values are put into codes of 4 bits. */
export interface Bnb4Format {
  readonly quantType: QuantType;
  readonly blockSize: number;
  /** Whether the largest magnitudes are put into codes of 8 bits. */
  readonly nested: boolean;
}

/** Values of one block of the largest magnitudes. */
const NESTED_BLOCK = 256;

/** The smallest number that a block is divided by. */
const TINY = Math.fround(1e-38);

const SCALE_MAP = dynamicMap(true);
const SCALE_ROUNDING = new Rounding(SCALE_MAP);
const ROUNDINGS = { nf4: new Rounding(codeBooks.nf4), fp4: new Rounding(codeBooks.fp4) };

/** Rounds values over the largest magnitude of their block to a code book: a code for each, and a magnitude for each block. */
export function roundBlocks(
  values: Float32Array,
  blockSize: number,
  rounding: Rounding,
  codes = new Uint8Array(values.length),
): { readonly codes: Uint8Array; readonly absmax: Float32Array } {
  const absmax = new Float32Array(Math.ceil(values.length / blockSize));
  for (let block = 0; block < absmax.length; block += 1) {
    const from = block * blockSize;
    const to = Math.min(from + blockSize, values.length);
    let largest = 0;
    for (let i = from; i < to; i += 1) {
      const size = Math.abs(values[i]!);
      if (size > largest) largest = size;
    }
    const divisor = Math.max(largest, TINY);
    // bitsandbytes multiplies whole blocks by a rounded reciprocal and divides a part of one: the last bit can differ.
    if (to - from === blockSize) {
      const factor = Math.fround(1 / divisor);
      for (let i = from; i < to; i += 1) codes[i] = rounding.code(Math.fround(values[i]! * factor));
      absmax[block] = largest;
    } else {
      for (let i = from; i < to; i += 1) codes[i] = rounding.code(Math.fround(values[i]! / divisor));
      absmax[block] = divisor;
    }
  }
  return { codes, absmax };
}

/** Puts scales into codes of 8 bits: what differs from their mean, in blocks of 256. */
export function nestScales(scales: Float32Array): NestedScales {
  const offset = Math.fround(scales.reduce((sum, scale) => sum + scale, 0) / scales.length);
  const rest = scales.map((scale) => scale - offset);
  return {
    ...roundBlocks(rest, NESTED_BLOCK, SCALE_ROUNDING),
    map: SCALE_MAP,
    blockSize: NESTED_BLOCK,
    offset,
  };
}

/** Puts values into codes of 4 bits, with the codes and magnitudes of bitsandbytes, bit for bit. */
export function quantise4(values: Float32Array, { quantType, blockSize, nested }: Bnb4Format): Bnb4 {
  const { codes, absmax } = roundBlocks(values, blockSize, ROUNDINGS[quantType]);
  const packed = new Uint8Array(Math.ceil(values.length / 2));
  // An odd number of values leaves half a byte, which gets the code of zero.
  const rest = codeBooks[quantType].indexOf(0);
  for (let i = 0; i < packed.length; i += 1) packed[i] = (codes[2 * i]! << 4) | (codes[2 * i + 1] ?? rest);
  const scales = nested ? nestScales(absmax) : absmax;
  return { quantType, blockSize, size: values.length, codes: packed, absmax: scales };
}

/** The number of blocks. */
export const blockCount = ({ size, blockSize }: Pick<Bnb4, "size" | "blockSize">): number =>
  Math.ceil(size / blockSize);

/** Decodes the largest magnitudes of the blocks. */
export function decodeScales(absmax: Float32Array | NestedScales, out: Float32Array): void {
  if (absmax instanceof Float32Array) {
    out.set(absmax);
    return;
  }
  const { codes, map, blockSize, offset } = absmax;
  for (let from = 0; from < codes.length; from += blockSize) {
    const scale = absmax.absmax[from / blockSize]!;
    const to = Math.min(from + blockSize, codes.length);
    for (let i = from; i < to; i += 1) out[i] = Math.fround(map[codes[i]!]! * scale) + offset;
  }
}

/** Decodes values. */
export function decode4(coded: Bnb4, out: Float32Array): void {
  const { quantType, blockSize, codes, size } = coded;
  const book = codeBooks[quantType];
  const scales = new Float32Array(blockCount(coded));
  decodeScales(coded.absmax, scales);
  const scaled = new Float32Array(16);
  for (let block = 0; block < scales.length; block += 1) {
    const scale = scales[block]!;
    for (let code = 0; code < 16; code += 1) scaled[code] = book[code]! * scale;
    const end = Math.min((block + 1) * blockSize, size);
    let i = block * blockSize;
    for (; i + 1 < end; i += 2) {
      const byte = codes[i >> 1]!;
      out[i] = scaled[byte >> 4]!;
      out[i + 1] = scaled[byte & 15]!;
    }
    if (i < end) out[i] = scaled[codes[i >> 1]! >> 4]!;
  }
}

/** Bytes that codes and scales take. */
export function codedBytes({ codes, absmax }: Bnb4): number {
  if (absmax instanceof Float32Array) return codes.byteLength + absmax.byteLength;
  return codes.byteLength + absmax.codes.byteLength + absmax.absmax.byteLength;
}
