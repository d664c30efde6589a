import { greatest } from "./lanes";
import { pointer, whole } from "./step";

/**
 * The largest magnitudes of rows and of columns of a matrix W (rows, columns): W, columns, those of rows, those of columns, which are
 * there already and grow. Units are rows, which one thread has to do.
 */
export function magnitudes(step: usize, from: i32, to: i32): void {
  const columns = whole(step, 1);
  let x = pointer(step, 0) + ((<usize>(from * columns)) << 2);
  const byRow = pointer(step, 2);
  for (let row = from; row < to; row++) {
    let byColumn = pointer(step, 3);
    let most = f32x4.splat(0);
    let c = 0;
    for (; c + 4 <= columns; c += 4) {
      const size = f32x4.abs(v128.load(x));
      most = f32x4.pmax(most, size);
      v128.store(byColumn, f32x4.pmax(v128.load(byColumn), size));
      x += 16;
      byColumn += 16;
    }
    let largest = greatest(most);
    for (; c < columns; c++) {
      const size = abs<f32>(load<f32>(x));
      largest = max<f32>(largest, size);
      store<f32>(byColumn, max<f32>(load<f32>(byColumn), size));
      x += 4;
      byColumn += 4;
    }
    store<f32>(byRow + ((<usize>row) << 2), largest);
  }
}

/** A float32 this large has no places after the point: adding it rounds to whole numbers, halves to even ones, which its last bits are then. */
const ROUND: f32 = 1.5 * 8388608;

function whole4(x: v128, factor: v128): v128 {
  const sum = f32x4.add(f32x4.mul(x, factor), f32x4.splat(ROUND));
  return i32x4.sub(sum, i32x4.splat(reinterpret<i32>(ROUND)));
}

function wholeOf(x: usize, factor: usize): i32 {
  return <i32>nearest<f32>(load<f32>(x) * load<f32>(factor));
}

/** W (rows, columns) in whole numbers of 8 bits, each column times a factor: W, columns, factors, codes. Units are rows. */
export function codesAsStored(step: usize, from: i32, to: i32): void {
  const columns = whole(step, 1);
  const first = <usize>(from * columns);
  let x = pointer(step, 0) + (first << 2);
  let codes = pointer(step, 3) + first;
  for (let row = from; row < to; row++) {
    let factor = pointer(step, 2);
    let c = 0;
    for (; c + 16 <= columns; c += 16) {
      const a = whole4(v128.load(x), v128.load(factor));
      const b = whole4(v128.load(x, 16), v128.load(factor, 16));
      const d = whole4(v128.load(x, 32), v128.load(factor, 32));
      const e = whole4(v128.load(x, 48), v128.load(factor, 48));
      v128.store(codes, i8x16.narrow_i16x8_s(i16x8.narrow_i32x4_s(a, b), i16x8.narrow_i32x4_s(d, e)));
      x += 64;
      factor += 64;
      codes += 16;
    }
    for (; c < columns; c++) {
      store<i8>(codes, <i8>wholeOf(x, factor));
      x += 4;
      factor += 4;
      codes += 1;
    }
  }
}

/** Rows that are turned together. */
const GROUP = 16;

/** Four rows of four numbers as bytes, those of a column next to each other. */
function turned4(x: usize, stride: usize, factors: usize): v128 {
  const a = whole4(v128.load(x), v128.load32_splat(factors));
  const b = whole4(v128.load(x + stride), v128.load32_splat(factors, 4));
  const c = whole4(v128.load(x + 2 * stride), v128.load32_splat(factors, 8));
  const d = whole4(v128.load(x + 3 * stride), v128.load32_splat(factors, 12));
  const bytes = i8x16.narrow_i16x8_s(i16x8.narrow_i32x4_s(a, b), i16x8.narrow_i32x4_s(c, d));
  return v128.shuffle<i8>(bytes, bytes, 0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
}

/** W (rows, columns) turned into whole numbers of 8 bits (columns, rows), each row times a factor: W, columns, factors, codes, rows. Units are 16 rows. */
export function codesTurned(step: usize, from: i32, to: i32): void {
  const columns = whole(step, 1);
  const rows = whole(step, 4);
  const stride = (<usize>columns) << 2;
  for (let group = from; group < to; group++) {
    const row = group * GROUP;
    const x = pointer(step, 0) + <usize>row * stride;
    const factors = pointer(step, 2) + ((<usize>row) << 2);
    let codes = pointer(step, 3) + <usize>row;
    let c = 0;
    if (row + GROUP <= rows) {
      for (; c + 4 <= columns; c += 4) {
        const at = x + ((<usize>c) << 2);
        const t0 = turned4(at, stride, factors);
        const t1 = turned4(at + 4 * stride, stride, factors + 16);
        const t2 = turned4(at + 8 * stride, stride, factors + 32);
        const t3 = turned4(at + 12 * stride, stride, factors + 48);
        const low = v128.shuffle<i32>(t0, t1, 0, 4, 1, 5);
        const high = v128.shuffle<i32>(t0, t1, 2, 6, 3, 7);
        const lower = v128.shuffle<i32>(t2, t3, 0, 4, 1, 5);
        const higher = v128.shuffle<i32>(t2, t3, 2, 6, 3, 7);
        v128.store(codes, v128.shuffle<i64>(low, lower, 0, 2));
        v128.store(codes + <usize>rows, v128.shuffle<i64>(low, lower, 1, 3));
        v128.store(codes + <usize>(2 * rows), v128.shuffle<i64>(high, higher, 0, 2));
        v128.store(codes + <usize>(3 * rows), v128.shuffle<i64>(high, higher, 1, 3));
        codes += <usize>(4 * rows);
      }
    }
    const last = min(row + GROUP, rows) - row;
    for (; c < columns; c++) {
      for (let i = 0; i < last; i++) {
        const at = x + <usize>i * stride + ((<usize>c) << 2);
        store<i8>(codes + <usize>i, <i8>wholeOf(at, factors + ((<usize>i) << 2)));
      }
      codes += <usize>rows;
    }
  }
}
