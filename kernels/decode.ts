import { blockBytes, Q4_1, Q8_0 } from "./block-kinds";
import { half } from "./lanes";
import { pointer, whole } from "./step";

/** Sixteen signed bytes as numbers, each times a scale and a sum added. */
function sixteen(out: usize, bytes: v128, scale: v128, plus: v128): void {
  const low = i16x8.extend_low_i8x16_s(bytes);
  const high = i16x8.extend_high_i8x16_s(bytes);
  four(out, i32x4.extend_low_i16x8_s(low), scale, plus);
  four(out + 16, i32x4.extend_high_i16x8_s(low), scale, plus);
  four(out + 32, i32x4.extend_low_i16x8_s(high), scale, plus);
  four(out + 48, i32x4.extend_high_i16x8_s(high), scale, plus);
}

function four(out: usize, codes: v128, scale: v128, plus: v128): void {
  v128.store(out, f32x4.add(f32x4.mul(f32x4.convert_i32x4_s(codes), scale), plus));
}

/**
 * Rows of a matrix in the blocks of a file as float32: rows of the file, the matrix, blocks of 32 in a row, their kind. Units are rows.
 * Products of a number of 16 bits with a code are exact, so each value is rounded once. Adding −0 changes nothing, 0 would turn −0 into 0.
 */
export function decode(step: usize, from: i32, to: i32): void {
  const kind = whole(step, 3);
  const blocks = (to - from) * whole(step, 2);
  const bytes = blockBytes(kind);
  const first = <usize>(from * whole(step, 2));
  let raw = pointer(step, 0) + first * bytes;
  let out = pointer(step, 1) + (first << 7);
  const low = i8x16.splat(15);
  const centre = i8x16.splat(8);
  for (let block = 0; block < blocks; block++) {
    const scale = f32x4.splat(half(raw));
    if (kind == Q8_0) {
      const none = f32x4.splat(-0.0);
      sixteen(out, v128.load(raw, 2), scale, none);
      sixteen(out + 64, v128.load(raw, 18), scale, none);
    } else {
      const isOffset = kind == Q4_1;
      const codes = v128.load(raw + bytes - 16);
      const shift = isOffset ? i8x16.splat(0) : centre;
      const plus = f32x4.splat(isOffset ? half(raw + 2) : -0.0);
      sixteen(out, i8x16.sub(v128.and(codes, low), shift), scale, plus);
      sixteen(out + 64, i8x16.sub(i8x16.shr_u(codes, 4), shift), scale, plus);
    }
    raw += bytes;
    out += 128;
  }
}
