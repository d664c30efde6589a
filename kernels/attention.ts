import { dot, exp, tanh, total } from "./lanes";
import { pointer, real, whole } from "./step";

/** The two halves of a head turned by the angles of its place: (a, b) → (a cos − b sin, b cos + a sin). */
function turn(x: usize, y: usize, cos: usize, sin: usize, width: i32): void {
  const half = <usize>(width << 1);
  for (let i: usize = 0; i < half; i += 16) {
    const a = v128.load(x + i);
    const b = v128.load(x + half + i);
    const c = v128.load(cos + i);
    const s = v128.load(sin + i);
    v128.store(y + i, f32x4.sub(f32x4.mul(a, c), f32x4.mul(b, s)));
    v128.store(y + half + i, f32x4.add(f32x4.mul(b, c), f32x4.mul(a, s)));
  }
}

/** Heads of x turned by their token's position: x, its stride, cos, sin, positions of 64 bits, y, heads, d, a multiple of 8. Units are rows. */
export function rotate(step: usize, from: i32, to: i32): void {
  const heads = whole(step, 6);
  const width = whole(step, 7);
  for (let row = from; row < to; row++) {
    const position = <i32>load<i64>(pointer(step, 4) + ((<usize>row) << 3));
    const angles = (<usize>(position * width)) << 1;
    for (let head = 0; head < heads; head++) {
      const x = pointer(step, 0) + ((<usize>(row * whole(step, 1) + head * width)) << 2);
      const y = pointer(step, 5) + ((<usize>((row * heads + head) * width)) << 2);
      turn(x, y, pointer(step, 2) + angles, pointer(step, 3) + angles, width);
    }
  }
}

/**
 * Puts the key and the value of one new token a row into the cache: key, its stride, value, its stride, keys (B, K, C, d), values, places (B),
 * cos and sin or 0, K, C, d. Units are heads of keys of all rows.
 */
export function append(step: usize, from: i32, to: i32): void {
  const cos = pointer(step, 7);
  const sin = pointer(step, 8);
  const heads = whole(step, 9);
  const places = whole(step, 10);
  const width = whole(step, 11);
  for (let unit = from; unit < to; unit++) {
    const row = unit / heads;
    const place = load<i32>(pointer(step, 6) + ((<usize>row) << 2));
    const head = (<usize>((unit % heads) * width)) << 2;
    const key = pointer(step, 0) + ((<usize>(row * whole(step, 1))) << 2) + head;
    const value = pointer(step, 2) + ((<usize>(row * whole(step, 3))) << 2) + head;
    const at = <usize>(unit * places + place) * ((<usize>width) << 2);
    const angles = (<usize>(place * width)) << 1;
    if (cos != 0) turn(key, pointer(step, 4) + at, cos + angles, sin + angles, width);
    else memory.copy(pointer(step, 4) + at, key, (<usize>width) << 2);
    memory.copy(pointer(step, 5) + at, value, (<usize>width) << 2);
  }
}

/**
 * Attention of one token a row over the cache that it is in: query, its stride, keys (B, K, C, d), values, places (B), cos and sin or 0, y,
 * room for C + d numbers a unit, H, K, C, d, scale, cap or 0, window or 0. Units are heads of all rows; d is a multiple of 8.
 */
export function attend(step: usize, from: i32, to: i32): void {
  const cos = pointer(step, 5);
  const heads = whole(step, 9);
  const groups = whole(step, 10);
  const places = whole(step, 11);
  const width = whole(step, 12);
  const scale = real(step, 13);
  const cap = real(step, 14);
  const window = whole(step, 15);
  const bytes = (<usize>width) << 2;
  for (let unit = from; unit < to; unit++) {
    const row = unit / heads;
    const head = unit % heads;
    const place = load<i32>(pointer(step, 4) + ((<usize>row) << 2));
    const first = window > 0 ? max(0, place + 1 - window) : 0;
    const count = place + 1 - first;
    const room = pointer(step, 8) + <usize>unit * ((<usize>(places + width)) << 2);
    const scores = room + bytes;
    let query = pointer(step, 0) + ((<usize>(row * whole(step, 1) + head * width)) << 2);
    if (cos != 0) {
      const angles = (<usize>(place * width)) << 1;
      turn(query, room, cos + angles, pointer(step, 6) + angles, width);
      query = room;
    }
    const group = row * groups + (head * groups) / heads;
    const start = <usize>(group * places + first) * bytes;
    const keys = pointer(step, 2) + start;
    const values = pointer(step, 3) + start;
    let most: f32 = -Infinity;
    for (let i = 0; i < count; i++) {
      let score = scale * dot(query, keys + <usize>i * bytes, width);
      if (cap > 0) score = cap * f32x4.extract_lane(tanh(f32x4.splat(score / cap)), 0);
      most = max<f32>(most, score);
      store<f32>(scores + ((<usize>i) << 2), score);
    }
    const shift = f32x4.splat(most);
    let sum: f32 = 0;
    let i = 0;
    for (; i + 4 <= count; i += 4) {
      const at = scores + ((<usize>i) << 2);
      const share = exp(f32x4.sub(v128.load(at), shift));
      v128.store(at, share);
      sum += total(share);
    }
    for (; i < count; i++) {
      const at = scores + ((<usize>i) << 2);
      const share = f32x4.extract_lane(exp(f32x4.splat(load<f32>(at) - most)), 0);
      store<f32>(at, share);
      sum += share;
    }
    const by = f32x4.splat(1 / sum);
    const y = pointer(step, 7) + <usize>unit * bytes;
    for (let c: usize = 0; c < bytes; c += 32) {
      let a = f32x4.splat(0);
      let b = f32x4.splat(0);
      let v = values + c;
      for (let t = 0; t < count; t++) {
        const share = v128.load32_splat(scores + ((<usize>t) << 2));
        a = f32x4.add(a, f32x4.mul(share, v128.load(v)));
        b = f32x4.add(b, f32x4.mul(share, v128.load(v, 16)));
        v += bytes;
      }
      v128.store(y + c, f32x4.mul(a, by));
      v128.store(y + c, f32x4.mul(b, by), 16);
    }
  }
}
