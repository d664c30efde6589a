// Four numbers at a time.

/** Sum of the four. */
export function total(v: v128): f32 {
  return (
    f32x4.extract_lane(v, 0) +
    f32x4.extract_lane(v, 1) +
    (f32x4.extract_lane(v, 2) + f32x4.extract_lane(v, 3))
  );
}

/** The largest of the four. */
export function greatest(v: v128): f32 {
  const half = f32x4.max(v, v128.shuffle<f32>(v, v, 2, 3, 0, 1));
  return max<f32>(f32x4.extract_lane(half, 0), f32x4.extract_lane(half, 1));
}

/** Σ a b over so many numbers. */
export function dot(a: usize, b: usize, width: i32): f32 {
  let s0 = f32x4.splat(0);
  let s1 = f32x4.splat(0);
  let i = 0;
  for (; i + 8 <= width; i += 8) {
    s0 = f32x4.add(s0, f32x4.mul(v128.load(a), v128.load(b)));
    s1 = f32x4.add(s1, f32x4.mul(v128.load(a, 16), v128.load(b, 16)));
    a += 32;
    b += 32;
  }
  if (i + 4 <= width) {
    s0 = f32x4.add(s0, f32x4.mul(v128.load(a), v128.load(b)));
    a += 16;
    b += 16;
    i += 4;
  }
  let sum = total(f32x4.add(s0, s1));
  for (; i < width; i++) {
    sum += load<f32>(a) * load<f32>(b);
    a += 4;
    b += 4;
  }
  return sum;
}

/**
 * eˣ to about 1e-7 of it: x = n ln 2 + r, eʳ by a polynomial of degree 7 for |r| ≤ ln 2 / 2, then n is added to the exponent.
 * Below −87 it stays at e⁻⁸⁷, above 88 at e⁸⁸.
 */
export function exp(x: v128): v128 {
  const bounded = f32x4.pmin(f32x4.pmax(x, f32x4.splat(-87)), f32x4.splat(88));
  const n = f32x4.nearest(f32x4.mul(bounded, f32x4.splat(1.4426950408889634)));
  // ln 2 in two parts, the first of which times n is exact.
  let r = f32x4.sub(bounded, f32x4.mul(n, f32x4.splat(0.693359375)));
  r = f32x4.add(r, f32x4.mul(n, f32x4.splat(2.1219444e-4)));
  let y = f32x4.splat(1.0 / 5040);
  y = f32x4.add(f32x4.mul(y, r), f32x4.splat(1.0 / 720));
  y = f32x4.add(f32x4.mul(y, r), f32x4.splat(1.0 / 120));
  y = f32x4.add(f32x4.mul(y, r), f32x4.splat(1.0 / 24));
  y = f32x4.add(f32x4.mul(y, r), f32x4.splat(1.0 / 6));
  y = f32x4.add(f32x4.mul(y, r), f32x4.splat(0.5));
  y = f32x4.add(f32x4.mul(y, r), f32x4.splat(1));
  y = f32x4.add(f32x4.mul(y, r), f32x4.splat(1));
  const power = i32x4.shl(i32x4.add(i32x4.trunc_sat_f32x4_s(n), i32x4.splat(127)), 23);
  return f32x4.mul(y, power);
}

/** 1 / (1 + e⁻ˣ) */
export function sigmoid(x: v128): v128 {
  const one = f32x4.splat(1);
  return f32x4.div(one, f32x4.add(one, exp(f32x4.neg(x))));
}

/** 2 σ(2x) − 1 */
export function tanh(x: v128): v128 {
  return f32x4.sub(f32x4.mul(f32x4.splat(2), sigmoid(f32x4.add(x, x))), f32x4.splat(1));
}

/**
 * The error function to about 2e-7: 1 − (a₁ t + … + a₅ t⁵) e^(−x²) with t = 1 / (1 + p |x|).
 *
 * Abramowitz and Stegun, "Handbook of Mathematical Functions", 7.1.26.
 */
export function erf(x: v128): v128 {
  const one = f32x4.splat(1);
  const size = f32x4.abs(x);
  const t = f32x4.div(one, f32x4.add(one, f32x4.mul(size, f32x4.splat(0.3275911))));
  let y = f32x4.splat(1.061405429);
  y = f32x4.add(f32x4.mul(y, t), f32x4.splat(-1.453152027));
  y = f32x4.add(f32x4.mul(y, t), f32x4.splat(1.421413741));
  y = f32x4.add(f32x4.mul(y, t), f32x4.splat(-0.284496736));
  y = f32x4.add(f32x4.mul(y, t), f32x4.splat(0.254829592));
  const rest = f32x4.mul(f32x4.mul(y, t), exp(f32x4.neg(f32x4.mul(x, x))));
  const sign = v128.and(x, i32x4.splat(0x80000000));
  return v128.or(f32x4.sub(one, rest), sign);
}

/** A number of 16 bits as float32: the exponent is 112 less there. It is taken for finite. */
export function half(at: usize): f32 {
  const bits = <u32>load<u16>(at);
  const size = reinterpret<f32>((bits & 0x7fff) << 13) * reinterpret<f32>(0x77800000);
  return (bits & 0x8000) != 0 ? -size : size;
}
