import type { BlockCodes, Packing } from "../base/packed-matrix.js";
import { halfAt, halfTable, scaleAndMinimum } from "./gguf-blocks.js";

/** How blocks of ggml read as whole numbers with scales, w = scale · code + offset. */
export interface BlockCodeType {
  readonly packing: Packing;
  /** Reads the blocks of one row. */
  read(bytes: Uint8Array, into: BlockCodes): void;
  /** The same with codes of 4 bits two in a byte, as packed matrices have them, from the place `to`. */
  readonly pack?: (bytes: Uint8Array, codes: Uint8Array, to: number, into: BlockCodes) => void;
}

/** Reads one block: `at` is its first byte, `to` the index of its first value, `scale` that of its first scale. */
type BlockReader = (data: Uint8Array, at: number, to: number, scale: number, into: BlockCodes) => void;

const codes = (
  packing: Packing,
  { values, bytes }: { readonly values: number; readonly bytes: number },
  block: BlockReader,
): BlockCodeType => ({
  packing,
  read(data, into) {
    const scales = values / packing.blockSize;
    for (let i = 0; i * values < into.codes.length; i += 1)
      block(data, i * bytes, i * values, i * scales, into);
  },
});

const half = halfTable();

const FOUR_BITS: Packing = { blockSize: 32, digits: 1, offsets: true };
const EIGHT_BITS: Packing = { blockSize: 32, digits: 2, offsets: true };

/** 32 codes of 4 bits: the low halves of 16 bytes, then the high ones. */
function nibbles(data: Uint8Array, at: number, out: Uint8Array, to: number): void {
  for (let j = 0; j < 16; j += 1) {
    const q = data[at + j]!;
    out[to + j] = q & 15;
    out[to + j + 16] = q >> 4;
  }
}

/** Blocks of a scale, perhaps an offset, and 16 bytes of codes: the earlier half of them in low halves, the later one in high halves. */
const packHalves =
  (bytes: 18 | 20): NonNullable<BlockCodeType["pack"]> =>
  (data, codes, to, { scales, offsets }) => {
    let [out, block] = [to, 0];
    for (let at = 0; at < data.length; at += bytes) {
      scales[block] = halfAt(data, at, half);
      if (bytes === 20) offsets[block] = halfAt(data, at + 2, half);
      block += 1;
      for (let from = at + bytes - 16; from < at + bytes; from += 2) {
        const [a, b] = [data[from]!, data[from + 1]!];
        codes[out] = (a & 15) | ((b & 15) << 4);
        codes[out + 8] = (a >> 4) | (b & 0xf0);
        out += 1;
      }
      out += 8;
    }
  };

/** w = d (q − 8): what packed matrices take codes for, so nothing is left to add. */
const q4_0: BlockCodeType = {
  ...codes({ ...FOUR_BITS, offsets: false }, { values: 32, bytes: 18 }, (data, at, to, scale, into) => {
    into.scales[scale] = halfAt(data, at, half);
    nibbles(data, at + 2, into.codes, to);
  }),
  pack: packHalves(18),
};

/** w = d q + m. */
const q4_1: BlockCodeType = {
  ...codes(FOUR_BITS, { values: 32, bytes: 20 }, (data, at, to, scale, into) => {
    into.scales[scale] = halfAt(data, at, half);
    into.offsets[scale] = halfAt(data, at + 2, half);
    nibbles(data, at + 4, into.codes, to);
  }),
  pack: packHalves(20),
};

/** w = d q with signed q: 128 is added to the codes. */
const q8_0 = codes(
  { ...EIGHT_BITS, symmetric: true },
  { values: 32, bytes: 34 },
  (data, at, to, scale, into) => {
    const d = halfAt(data, at, half);
    into.scales[scale] = d;
    into.offsets[scale] = -128 * d;
    for (let j = 0; j < 32; j += 1) into.codes[to + j] = data[at + 2 + j]! ^ 128;
  },
);

/** Q4_K and Q5_K: w = d s q − m t over 32 values; `fifth` is where the fifth bits stand. */
const kCodes = (bytes: number, low: number, fifth: number | undefined): BlockCodeType =>
  codes(
    fifth === undefined ? FOUR_BITS : EIGHT_BITS,
    { values: 256, bytes },
    (data, at, to, first, { codes: out, scales, offsets }) => {
      const d = halfAt(data, at, half);
      const m = halfAt(data, at + 2, half);
      for (let group = 0; group < 8; group += 1) {
        const [scale, minimum] = scaleAndMinimum(data, at + 4, group);
        scales[first + group] = d * scale;
        offsets[first + group] = -m * minimum;
        const from = at + low + (group >> 1) * 32;
        for (let j = 0; j < 32; j += 1) {
          const nibble = (group & 1) === 0 ? data[from + j]! & 15 : data[from + j]! >> 4;
          const high = fifth === undefined ? 0 : ((data[at + fifth + j]! >> group) & 1) << 4;
          out[to + group * 32 + j] = nibble | high;
        }
      }
    },
  );

/** w = d s (q − 32) over 16 values; q is 4 low and 2 high bits. */
const q6K = codes(
  { ...EIGHT_BITS, blockSize: 16, symmetric: true },
  { values: 256, bytes: 210 },
  (data, at, to, first, { codes: out, scales, offsets }) => {
    const d = halfAt(data, at + 208, half);
    for (let group = 0; group < 16; group += 1) {
      const scale = d * ((data[at + 192 + group]! << 24) >> 24);
      scales[first + group] = scale;
      offsets[first + group] = -32 * scale;
      const [part, quarter] = [group >> 3, (group >> 1) & 3];
      const low = at + part * 64 + (quarter & 1) * 32 + (group & 1) * 16;
      const high = at + 128 + part * 32 + (group & 1) * 16;
      for (let j = 0; j < 16; j += 1) {
        const nibble = quarter < 2 ? data[low + j]! & 15 : data[low + j]! >> 4;
        out[to + group * 16 + j] = nibble | (((data[high + j]! >> (quarter * 2)) & 3) << 4);
      }
    }
  },
);

/** Element types whose blocks matrix products use as they are, by their number in ggml. */
export const blockCodes: Readonly<Record<number, BlockCodeType>> = {
  2: q4_0,
  3: q4_1,
  8: q8_0,
  12: kCodes(144, 16, undefined),
  13: kCodes(176, 48, 16),
  14: q6K,
};
