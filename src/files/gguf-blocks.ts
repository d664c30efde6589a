import { float16Value } from "../base/half.js";

/** An element type of ggml: how many values a block holds, in how many bytes, and how they are decoded. */
export interface BlockType {
  readonly name: string;
  readonly values: number;
  readonly bytes: number;
  /** Decodes whole blocks into float32. */
  decode(bytes: Uint8Array, out: Float32Array): void;
}

let halves: Float32Array | undefined;

/** A lookup table of all float16 values. */
export function halfTable(): Float32Array {
  halves ??= Float32Array.from({ length: 65_536 }, (_, bits) => float16Value(bits));
  return halves;
}

/** Walks blocks: `block` gets the byte offset and the index of its first value. */
const blocks =
  (
    values: number,
    bytes: number,
    block: (data: Uint8Array, at: number, out: Float32Array, to: number, half: Float32Array) => void,
  ) =>
  (data: Uint8Array, out: Float32Array): void => {
    const half = halfTable();
    for (let at = 0, to = 0; to < out.length; at += bytes, to += values) block(data, at, out, to, half);
  };

export const halfAt = (data: Uint8Array, at: number, half: Float32Array): number =>
  half[data[at]! | (data[at + 1]! << 8)]!;
const wordAt = (data: Uint8Array, at: number): number =>
  data[at]! | (data[at + 1]! << 8) | (data[at + 2]! << 16) | (data[at + 3]! << 24);

const f32: BlockType = {
  name: "F32",
  values: 1,
  bytes: 4,
  decode: (data, out) =>
    new Uint8Array(out.buffer, out.byteOffset, out.byteLength).set(data.subarray(0, out.byteLength)),
};

const f16: BlockType = {
  name: "F16",
  values: 1,
  bytes: 2,
  decode: blocks(1, 2, (data, at, out, to, half) => {
    out[to] = halfAt(data, at, half);
  }),
};

const bf16: BlockType = {
  name: "BF16",
  values: 1,
  bytes: 2,
  decode(data, out) {
    const words = new Uint32Array(out.buffer, out.byteOffset, out.length);
    for (let i = 0; i < words.length; i += 1) words[i] = (data[2 * i]! << 16) | (data[2 * i + 1]! << 24);
  },
};

/** w = d (q − 8). */
const q4_0: BlockType = {
  name: "Q4_0",
  values: 32,
  bytes: 18,
  decode: blocks(32, 18, (data, at, out, to, half) => {
    const d = halfAt(data, at, half);
    for (let j = 0; j < 16; j += 1) {
      const q = data[at + 2 + j]!;
      out[to + j] = d * ((q & 15) - 8);
      out[to + j + 16] = d * ((q >> 4) - 8);
    }
  }),
};

/** w = d q + m, rounded after each step as float32 arithmetic does. */
const q4_1: BlockType = {
  name: "Q4_1",
  values: 32,
  bytes: 20,
  decode: blocks(32, 20, (data, at, out, to, half) => {
    const d = halfAt(data, at, half);
    const m = halfAt(data, at + 2, half);
    for (let j = 0; j < 16; j += 1) {
      const q = data[at + 4 + j]!;
      out[to + j] = Math.fround(d * (q & 15)) + m;
      out[to + j + 16] = Math.fround(d * (q >> 4)) + m;
    }
  }),
};

/** w = d (q − 16), the fifth bits in a word of their own. */
const q5_0: BlockType = {
  name: "Q5_0",
  values: 32,
  bytes: 22,
  decode: blocks(32, 22, (data, at, out, to, half) => {
    const d = halfAt(data, at, half);
    const high = wordAt(data, at + 2);
    for (let j = 0; j < 16; j += 1) {
      const q = data[at + 6 + j]!;
      out[to + j] = d * (((q & 15) | (((high >>> j) & 1) << 4)) - 16);
      out[to + j + 16] = d * (((q >> 4) | (((high >>> (j + 16)) & 1) << 4)) - 16);
    }
  }),
};

/** w = d q + m, the fifth bits in a word of their own. */
const q5_1: BlockType = {
  name: "Q5_1",
  values: 32,
  bytes: 24,
  decode: blocks(32, 24, (data, at, out, to, half) => {
    const d = halfAt(data, at, half);
    const m = halfAt(data, at + 2, half);
    const high = wordAt(data, at + 4);
    for (let j = 0; j < 16; j += 1) {
      const q = data[at + 8 + j]!;
      out[to + j] = Math.fround(d * ((q & 15) | (((high >>> j) & 1) << 4))) + m;
      out[to + j + 16] = Math.fround(d * ((q >> 4) | (((high >>> (j + 16)) & 1) << 4))) + m;
    }
  }),
};

/** w = d q. */
const q8_0: BlockType = {
  name: "Q8_0",
  values: 32,
  bytes: 34,
  decode: blocks(32, 34, (data, at, out, to, half) => {
    const d = halfAt(data, at, half);
    for (let j = 0; j < 32; j += 1) out[to + j] = d * ((data[at + 2 + j]! << 24) >> 24);
  }),
};

/** w = d s q − m t over 16 values: s and t are 4 bits each. */
const q2K: BlockType = {
  name: "Q2_K",
  values: 256,
  bytes: 84,
  decode: blocks(256, 84, (data, at, out, to, half) => {
    const d = halfAt(data, at + 80, half);
    const m = halfAt(data, at + 82, half);
    for (let group = 0; group < 16; group += 1) {
      const scale = data[at + group]!;
      const low = Math.fround(d * (scale & 15));
      const minimum = Math.fround(m * (scale >> 4));
      const from = at + 16 + (group >> 3) * 32 + (group & 1) * 16;
      const shift = ((group >> 1) & 3) * 2;
      for (let j = 0; j < 16; j += 1) {
        out[to + group * 16 + j] = Math.fround(low * ((data[from + j]! >> shift) & 3)) - minimum;
      }
    }
  }),
};

/** w = d (s − 32) q over 16 values; q is 2 bits, less 4 where the mask bit is 0. */
const q3K: BlockType = {
  name: "Q3_K",
  values: 256,
  bytes: 110,
  decode: blocks(256, 110, (data, at, out, to, half) => {
    const d = halfAt(data, at + 108, half);
    const scales = at + 96;
    for (let group = 0; group < 16; group += 1) {
      const packed = data[scales + (group & 7)]!;
      const low = group < 8 ? packed & 15 : packed >> 4;
      const high = (data[scales + 8 + (group & 3)]! >> ((group >> 2) * 2)) & 3;
      const scale = Math.fround(d * ((low | (high << 4)) - 32));
      const from = (group >> 3) * 32 + (group & 1) * 16;
      const shift = ((group >> 1) & 3) * 2;
      const bit = group >> 1;
      for (let j = 0; j < 16; j += 1) {
        const mask = (data[at + (group & 1) * 16 + j]! >> bit) & 1;
        const q = ((data[at + 32 + from + j]! >> shift) & 3) - (mask === 1 ? 0 : 4);
        out[to + group * 16 + j] = scale * q;
      }
    }
  }),
};

/** The 6-bit scale and minimum of a group of 32, packed into 12 bytes. */
export function scaleAndMinimum(
  data: Uint8Array,
  at: number,
  group: number,
): [scale: number, minimum: number] {
  if (group < 4) return [data[at + group]! & 63, data[at + group + 4]! & 63];
  return [
    (data[at + group + 4]! & 15) | ((data[at + group - 4]! >> 6) << 4),
    (data[at + group + 4]! >> 4) | ((data[at + group]! >> 6) << 4),
  ];
}

/** Q4_K and Q5_K: w = d s q − m t over 32 values; `fifth` is where the fifth bits stand. */
const kBlock = (name: string, bytes: number, low: number, fifth: number | undefined): BlockType => ({
  name,
  values: 256,
  bytes,
  decode: blocks(256, bytes, (data, at, out, to, half) => {
    const d = halfAt(data, at, half);
    const m = halfAt(data, at + 2, half);
    for (let group = 0; group < 8; group += 1) {
      const [scale, minimum] = scaleAndMinimum(data, at + 4, group);
      const step = Math.fround(d * scale);
      const shift = Math.fround(m * minimum);
      const from = at + low + (group >> 1) * 32;
      for (let j = 0; j < 32; j += 1) {
        const nibble = (group & 1) === 0 ? data[from + j]! & 15 : data[from + j]! >> 4;
        const high = fifth === undefined ? 0 : ((data[at + fifth + j]! >> group) & 1) << 4;
        out[to + group * 32 + j] = Math.fround(step * (nibble | high)) - shift;
      }
    }
  }),
});

/** w = d s (q − 32) over 16 values; q is 4 low and 2 high bits. */
const q6K: BlockType = {
  name: "Q6_K",
  values: 256,
  bytes: 210,
  decode: blocks(256, 210, (data, at, out, to, half) => {
    const d = halfAt(data, at + 208, half);
    for (let group = 0; group < 16; group += 1) {
      const scale = Math.fround(d * ((data[at + 192 + group]! << 24) >> 24));
      const [part, quarter] = [group >> 3, (group >> 1) & 3];
      const low = at + part * 64 + (quarter & 1) * 32 + (group & 1) * 16;
      const high = at + 128 + part * 32 + (group & 1) * 16;
      for (let j = 0; j < 16; j += 1) {
        const nibble = quarter < 2 ? data[low + j]! & 15 : data[low + j]! >> 4;
        out[to + group * 16 + j] = scale * ((nibble | (((data[high + j]! >> (quarter * 2)) & 3) << 4)) - 32);
      }
    }
  }),
};

/** Element types by their number in ggml. */
export const blockTypes: Readonly<Record<number, BlockType>> = {
  0: f32,
  1: f16,
  2: q4_0,
  3: q4_1,
  6: q5_0,
  7: q5_1,
  8: q8_0,
  10: q2K,
  11: q3K,
  12: kBlock("Q4_K", 144, 16, undefined),
  13: kBlock("Q5_K", 176, 48, 16),
  14: q6K,
  30: bf16,
};
