import { pointer, whole } from "./step";

/** Rows of W that are next to each other in memory. */
const ROWS: usize = 8;

function plus(sum: v128, products: v128, scales: v128): v128 {
  return f32x4.add(sum, f32x4.mul(f32x4.convert_i32x4_s(products), scales));
}

/**
 * Eight rows of W, blocks with codes of 4 bits, times one row of x.
 *
 * A block is vectors of 4 rows with 8 numbers each, those of rows 0 to 3 before those of 4 to 7: lanes of 16 bits 2 i and 2 i + 1 hold
 * numbers 2 j and 2 j + 1 of row i in their j-th four bits.
 */
function nibbleRows(step: usize, group: usize, row: usize): void {
  const blocks = whole(step, 5);
  const vectors = whole(step, 11);
  const perBlock = (<usize>vectors) << 5;
  let codes = pointer(step, 6) + group * (<usize>blocks * perBlock);
  const firstScale = group * ((<usize>blocks) << 5);
  let scales = pointer(step, 7) + firstScale;
  let offsets = pointer(step, 12);
  const hasOffsets = offsets != 0;
  offsets += firstScale;
  let x = pointer(step, 0) + row * (<usize>blocks * ((<usize>vectors) << 4));
  const first = row * ((<usize>blocks) << 2);
  let xScales = pointer(step, 1) + first;
  let starts = pointer(step, 2) + first;
  let totals = pointer(step, 3) + first;
  const low = i16x8.splat(15);
  let y0 = f32x4.splat(0);
  let y1 = f32x4.splat(0);
  for (let block = 0; block < blocks; block++) {
    let d0 = v128.load32_splat(starts);
    let d1 = d0;
    const end = codes + perBlock;
    for (; codes < end; codes += 32) {
      const v = v128.load(codes);
      const w = v128.load(codes, 16);
      const a = v128.load32_splat(x);
      d0 = i32x4.add(d0, i32x4.dot_i16x8_s(v128.and(v, low), a));
      d1 = i32x4.add(d1, i32x4.dot_i16x8_s(v128.and(w, low), a));
      const b = v128.load32_splat(x, 4);
      d0 = i32x4.add(d0, i32x4.dot_i16x8_s(v128.and(i16x8.shr_u(v, 4), low), b));
      d1 = i32x4.add(d1, i32x4.dot_i16x8_s(v128.and(i16x8.shr_u(w, 4), low), b));
      const c = v128.load32_splat(x, 8);
      d0 = i32x4.add(d0, i32x4.dot_i16x8_s(v128.and(i16x8.shr_u(v, 8), low), c));
      d1 = i32x4.add(d1, i32x4.dot_i16x8_s(v128.and(i16x8.shr_u(w, 8), low), c));
      const d = v128.load32_splat(x, 12);
      d0 = i32x4.add(d0, i32x4.dot_i16x8_s(i16x8.shr_u(v, 12), d));
      d1 = i32x4.add(d1, i32x4.dot_i16x8_s(i16x8.shr_u(w, 12), d));
      x += 16;
    }
    const by = v128.load32_splat(xScales);
    y0 = plus(y0, d0, f32x4.mul(v128.load(scales), by));
    y1 = plus(y1, d1, f32x4.mul(v128.load(scales, 16), by));
    if (hasOffsets) {
      const total = v128.load32_splat(totals);
      y0 = f32x4.add(y0, f32x4.mul(v128.load(offsets), total));
      y1 = f32x4.add(y1, f32x4.mul(v128.load(offsets, 16), total));
    }
    scales += 32;
    offsets += 32;
    xScales += 4;
    starts += 4;
    totals += 4;
  }
  const y = pointer(step, 8) + row * ((<usize>whole(step, 9)) << 2) + group * (ROWS << 2);
  v128.store(y, y0);
  v128.store(y, y1, 16);
}

/**
 * Eight rows of W, blocks with codes of 8 bits, times one row of x. A block is vectors of 2 numbers of all eight rows, row by row.
 */
function byteRows(step: usize, group: usize, row: usize): void {
  const blocks = whole(step, 5);
  const vectors = whole(step, 11);
  const perBlock = (<usize>vectors) << 4;
  let codes = pointer(step, 6) + group * (<usize>blocks * perBlock);
  let scales = pointer(step, 7) + group * ((<usize>blocks) << 5);
  let x = pointer(step, 0) + row * (<usize>blocks * ((<usize>vectors) << 2));
  let xScales = pointer(step, 1) + row * ((<usize>blocks) << 2);
  let y0 = f32x4.splat(0);
  let y1 = f32x4.splat(0);
  for (let block = 0; block < blocks; block++) {
    let d0 = i32x4.splat(0);
    let d1 = i32x4.splat(0);
    const end = codes + perBlock;
    for (; codes < end; codes += 64) {
      const a = v128.load32_splat(x);
      d0 = i32x4.add(d0, i32x4.dot_i16x8_s(v128.load8x8_s(codes), a));
      d1 = i32x4.add(d1, i32x4.dot_i16x8_s(v128.load8x8_s(codes, 8), a));
      const b = v128.load32_splat(x, 4);
      d0 = i32x4.add(d0, i32x4.dot_i16x8_s(v128.load8x8_s(codes, 16), b));
      d1 = i32x4.add(d1, i32x4.dot_i16x8_s(v128.load8x8_s(codes, 24), b));
      const c = v128.load32_splat(x, 8);
      d0 = i32x4.add(d0, i32x4.dot_i16x8_s(v128.load8x8_s(codes, 32), c));
      d1 = i32x4.add(d1, i32x4.dot_i16x8_s(v128.load8x8_s(codes, 40), c));
      const d = v128.load32_splat(x, 12);
      d0 = i32x4.add(d0, i32x4.dot_i16x8_s(v128.load8x8_s(codes, 48), d));
      d1 = i32x4.add(d1, i32x4.dot_i16x8_s(v128.load8x8_s(codes, 56), d));
      x += 16;
    }
    const by = v128.load32_splat(xScales);
    y0 = plus(y0, d0, f32x4.mul(v128.load(scales), by));
    y1 = plus(y1, d1, f32x4.mul(v128.load(scales, 16), by));
    scales += 32;
    xScales += 4;
  }
  const y = pointer(step, 8) + row * ((<usize>whole(step, 9)) << 2) + group * (ROWS << 2);
  v128.store(y, y0);
  v128.store(y, y1, 16);
}

/** The same for rows of x `row` and `row` + 1, which share what is brought out of the codes. */
function nibbleRowPair(step: usize, group: usize, row: usize): void {
  const blocks = whole(step, 5);
  const vectors = whole(step, 11);
  const perBlock = (<usize>vectors) << 5;
  let codes = pointer(step, 6) + group * (<usize>blocks * perBlock);
  const firstScale = group * ((<usize>blocks) << 5);
  let scales = pointer(step, 7) + firstScale;
  let offsets = pointer(step, 12);
  const hasOffsets = offsets != 0;
  offsets += firstScale;
  const xBytes = <usize>blocks * ((<usize>vectors) << 4);
  let x = pointer(step, 0) + row * xBytes;
  const next = (<usize>blocks) << 2;
  let xScales = pointer(step, 1) + row * next;
  let starts = pointer(step, 2) + row * next;
  let totals = pointer(step, 3) + row * next;
  const low = i16x8.splat(15);
  let y0 = f32x4.splat(0);
  let y1 = f32x4.splat(0);
  let z0 = f32x4.splat(0);
  let z1 = f32x4.splat(0);
  for (let block = 0; block < blocks; block++) {
    let d0 = v128.load32_splat(starts);
    let d1 = d0;
    let e0 = v128.load32_splat(starts + next);
    let e1 = e0;
    const end = codes + perBlock;
    for (; codes < end; codes += 32) {
      const v = v128.load(codes);
      const w = v128.load(codes, 16);
      let p = v128.and(v, low);
      let q = v128.and(w, low);
      let a = v128.load32_splat(x);
      let b = v128.load32_splat(x + xBytes);
      d0 = i32x4.add(d0, i32x4.dot_i16x8_s(p, a));
      d1 = i32x4.add(d1, i32x4.dot_i16x8_s(q, a));
      e0 = i32x4.add(e0, i32x4.dot_i16x8_s(p, b));
      e1 = i32x4.add(e1, i32x4.dot_i16x8_s(q, b));
      p = v128.and(i16x8.shr_u(v, 4), low);
      q = v128.and(i16x8.shr_u(w, 4), low);
      a = v128.load32_splat(x, 4);
      b = v128.load32_splat(x + xBytes, 4);
      d0 = i32x4.add(d0, i32x4.dot_i16x8_s(p, a));
      d1 = i32x4.add(d1, i32x4.dot_i16x8_s(q, a));
      e0 = i32x4.add(e0, i32x4.dot_i16x8_s(p, b));
      e1 = i32x4.add(e1, i32x4.dot_i16x8_s(q, b));
      p = v128.and(i16x8.shr_u(v, 8), low);
      q = v128.and(i16x8.shr_u(w, 8), low);
      a = v128.load32_splat(x, 8);
      b = v128.load32_splat(x + xBytes, 8);
      d0 = i32x4.add(d0, i32x4.dot_i16x8_s(p, a));
      d1 = i32x4.add(d1, i32x4.dot_i16x8_s(q, a));
      e0 = i32x4.add(e0, i32x4.dot_i16x8_s(p, b));
      e1 = i32x4.add(e1, i32x4.dot_i16x8_s(q, b));
      p = i16x8.shr_u(v, 12);
      q = i16x8.shr_u(w, 12);
      a = v128.load32_splat(x, 12);
      b = v128.load32_splat(x + xBytes, 12);
      d0 = i32x4.add(d0, i32x4.dot_i16x8_s(p, a));
      d1 = i32x4.add(d1, i32x4.dot_i16x8_s(q, a));
      e0 = i32x4.add(e0, i32x4.dot_i16x8_s(p, b));
      e1 = i32x4.add(e1, i32x4.dot_i16x8_s(q, b));
      x += 16;
    }
    const s = v128.load(scales);
    const t = v128.load(scales, 16);
    const by = v128.load32_splat(xScales);
    const byNext = v128.load32_splat(xScales + next);
    y0 = plus(y0, d0, f32x4.mul(s, by));
    y1 = plus(y1, d1, f32x4.mul(t, by));
    z0 = plus(z0, e0, f32x4.mul(s, byNext));
    z1 = plus(z1, e1, f32x4.mul(t, byNext));
    if (hasOffsets) {
      const o = v128.load(offsets);
      const p = v128.load(offsets, 16);
      const total = v128.load32_splat(totals);
      const totalNext = v128.load32_splat(totals + next);
      y0 = f32x4.add(y0, f32x4.mul(o, total));
      y1 = f32x4.add(y1, f32x4.mul(p, total));
      z0 = f32x4.add(z0, f32x4.mul(o, totalNext));
      z1 = f32x4.add(z1, f32x4.mul(p, totalNext));
    }
    scales += 32;
    offsets += 32;
    xScales += 4;
    starts += 4;
    totals += 4;
  }
  const stride = (<usize>whole(step, 9)) << 2;
  const y = pointer(step, 8) + row * stride + group * (ROWS << 2);
  v128.store(y, y0);
  v128.store(y, y1, 16);
  v128.store(y + stride, z0);
  v128.store(y + stride, z1, 16);
}

/**
 * y = x Wᵀ with W in blocks (`src/steps/arrange.ts`) and x in whole numbers (`rounding.ts`): codes of x, its scales, starts and totals, rows,
 * blocks in a row, codes of W, scales, y, its stride, bits of a code, vectors of eight numbers (4 bits) or two (8 bits) in a block, offsets or 0.
 * Units are groups of eight rows of W.
 */
export function blocks(step: usize, from: i32, to: i32): void {
  const rows = whole(step, 4);
  const four = whole(step, 10) == 4;
  for (let group = from; group < to; group++)
    for (let row = 0; row < rows; row++)
      if (!four) byteRows(step, group, row);
      else if (row + 1 < rows) nibbleRowPair(step, group, row++);
      else nibbleRows(step, group, row);
}
