import { half, total } from "./lanes";
import { pointer, real, whole } from "./step";

// Weights of 16 bits, which become float32 on the way: bfloat16 is its upper half, float16 has an exponent that is 112 less.

/** The first or last four of eight numbers of bfloat16. */
function lowBrain(v: v128): v128 {
  return v128.shuffle<i16>(i16x8.splat(0), v, 0, 8, 1, 9, 2, 10, 3, 11);
}

function highBrain(v: v128): v128 {
  return v128.shuffle<i16>(i16x8.splat(0), v, 4, 12, 5, 13, 6, 14, 7, 15);
}

/** Four numbers of float16 that are spread over 32 bits, with their signs. */
function widen(v: v128): v128 {
  const bits = v128.and(i32x4.shl(v, 13), i32x4.splat(0x8fffe000));
  return f32x4.mul(bits, i32x4.splat(0x77800000));
}

function low(v: v128, brain: bool): v128 {
  return brain ? lowBrain(v) : widen(i32x4.extend_low_i16x8_s(v));
}

function high(v: v128, brain: bool): v128 {
  return brain ? highBrain(v) : widen(i32x4.extend_high_i16x8_s(v));
}

function one(at: usize, brain: bool): f32 {
  return brain ? reinterpret<f32>((<u32>load<u16>(at)) << 16) : half(at);
}

function dot(x: usize, w: usize, inner: i32, brain: bool): f32 {
  let s = f32x4.splat(0);
  let t = f32x4.splat(0);
  let k = 0;
  for (; k + 8 <= inner; k += 8) {
    const v = v128.load(w);
    s = f32x4.add(s, f32x4.mul(low(v, brain), v128.load(x)));
    t = f32x4.add(t, f32x4.mul(high(v, brain), v128.load(x, 16)));
    w += 16;
    x += 32;
  }
  let sum = total(f32x4.add(s, t));
  for (; k < inner; k++) {
    sum += load<f32>(x) * one(w, brain);
    w += 2;
    x += 4;
  }
  return sum;
}

/** A row of bfloat16 times one of x. One after another, rows come from memory half as fast again as four at a time. */
function brainDot(x: usize, w: usize, inner: i32): f32 {
  let a = f32x4.splat(0);
  let b = f32x4.splat(0);
  let c = f32x4.splat(0);
  let d = f32x4.splat(0);
  let k = 0;
  for (; k + 16 <= inner; k += 16) {
    const v = v128.load(w);
    const u = v128.load(w, 16);
    a = f32x4.add(a, f32x4.mul(lowBrain(v), v128.load(x)));
    b = f32x4.add(b, f32x4.mul(highBrain(v), v128.load(x, 16)));
    c = f32x4.add(c, f32x4.mul(lowBrain(u), v128.load(x, 32)));
    d = f32x4.add(d, f32x4.mul(highBrain(u), v128.load(x, 48)));
    w += 32;
    x += 64;
  }
  const sum = total(f32x4.add(f32x4.add(a, b), f32x4.add(c, d)));
  return k < inner ? sum + dot(x, w, inner - k, true) : sum;
}

/** y = alpha x Wᵀ with W (out, inner) of 16 bits: x, its stride, rows, inner width, W, y, out, alpha, whether bfloat16. Units are rows of W. */
export function denseHalf(step: usize, from: i32, to: i32): void {
  const stride = (<usize>whole(step, 1)) << 2;
  const rows = whole(step, 2);
  const inner = whole(step, 3);
  const out = whole(step, 6);
  const alpha = real(step, 7);
  const brain = whole(step, 8) != 0;
  for (let o = from; o < to; o++) {
    const w = pointer(step, 4) + <usize>o * ((<usize>inner) << 1);
    for (let row = 0; row < rows; row++) {
      const x = pointer(step, 0) + <usize>row * stride;
      const y = pointer(step, 5) + ((<usize>(row * out + o)) << 2);
      store<f32>(y, alpha * (brain ? brainDot(x, w, inner) : dot(x, w, inner, false)));
    }
  }
}

/** Rows of a table of 16 bits by their numbers, which have 64 bits, as float32: x, its stride, numbers, y, width, whether bfloat16. Units are rows of y. */
export function gatherHalf(step: usize, from: i32, to: i32): void {
  const width = whole(step, 4);
  const brain = whole(step, 5) != 0;
  for (let row = from; row < to; row++) {
    const number = <usize>load<i64>(pointer(step, 2) + ((<usize>row) << 3));
    const x = pointer(step, 0) + number * ((<usize>whole(step, 1)) << 1);
    const y = pointer(step, 3) + <usize>row * ((<usize>width) << 2);
    for (let i = 0; i < width; i++) store<f32>(y + ((<usize>i) << 2), one(x + ((<usize>i) << 1), brain));
  }
}
