import { blockBytes, Q4_1, Q8_0 } from "./block-kinds";
import { half } from "./lanes";
import { pointer, whole } from "./step";

/** Rows of W that are next to each other in memory. */
const ROWS = 8;

/** Codes 0, 2, 4 and 6 of eight in the lower 16 bits, the others in the upper ones; each is the low half of a byte. */
function eight(first: u32, second: u32): u32 {
  const a = first & 0x0f0f0f0f;
  const b = second & 0x0f0f0f0f;
  const even = (a & 15) | ((a >> 12) & 0xf0) | ((b & 15) << 8) | ((b >> 4) & 0xf000);
  const odd = ((a >> 8) & 15) | ((a >> 20) & 0xf0) | (b & 0xf00) | ((b >> 12) & 0xf000);
  return even | (odd << 16);
}

/** A row of blocks of two or one numbers of 16 bits and 16 bytes of codes: the first 16 codes in low halves, the others in high halves. */
function nibbleRow(step: usize, row: i32, kind: i32): void {
  const blocks = whole(step, 2);
  const hasOffsets = kind == Q4_1;
  const bytes = blockBytes(kind);
  const place = row + whole(step, 1);
  const lane = place % ROWS;
  let raw = pointer(step, 0) + <usize>row * <usize>blocks * bytes;
  let codes = pointer(step, 4) + ((<usize>((place - lane) * blocks * 4 + lane)) << 2);
  const first = (<usize>((place - lane) * blocks + lane)) << 2;
  let scales = pointer(step, 5) + first;
  let offsets = pointer(step, 6) + first;
  for (let block = 0; block < blocks; block++) {
    const scale = half(raw);
    store<f32>(scales, scale);
    // Codes are read less 8.
    if (hasOffsets) store<f32>(offsets, half(raw + 2) + 8 * scale);
    raw += bytes;
    const a = load<u32>(raw - 16);
    const b = load<u32>(raw - 12);
    const c = load<u32>(raw - 8);
    const d = load<u32>(raw - 4);
    store<u32>(codes, eight(a, b));
    store<u32>(codes, eight(c, d), 32);
    store<u32>(codes, eight(a >> 4, b >> 4), 64);
    store<u32>(codes, eight(c >> 4, d >> 4), 96);
    codes += 128;
    scales += 32;
    offsets += 32;
  }
}

/** A row of blocks of a number of 16 bits and 32 signed bytes. */
function byteRow(step: usize, row: i32): void {
  const blocks = whole(step, 2);
  const place = row + whole(step, 1);
  const lane = place % ROWS;
  let raw = pointer(step, 0) + <usize>row * (<usize>blocks * blockBytes(Q8_0));
  let codes = pointer(step, 4) + ((<usize>((place - lane) * blocks * 16 + lane)) << 1);
  let scales = pointer(step, 5) + ((<usize>((place - lane) * blocks + lane)) << 2);
  for (let block = 0; block < blocks; block++) {
    store<f32>(scales, half(raw));
    raw += 2;
    for (let pair = 0; pair < 16; pair++) {
      store<u16>(codes, load<u16>(raw));
      raw += 2;
      codes += 16;
    }
    scales += 32;
  }
}

/**
 * Rows of a matrix in the blocks of a file as kernels read them (`src/steps/arrange.ts`): rows of the file, where the first belongs in the
 * whole matrix, blocks of 32 in a row, their kind, codes, scales, offsets. Units are rows.
 */
export function unpack(step: usize, from: i32, to: i32): void {
  const kind = whole(step, 3);
  for (let row = from; row < to; row++)
    if (kind == Q8_0) byteRow(step, row);
    else nibbleRow(step, row, kind);
}
