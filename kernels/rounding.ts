import { greatest } from "./lanes";
import { pointer, whole } from "./step";

/** Largest whole number that numbers become. */
const LARGEST: f32 = 32767;

function largest(x: usize, bytes: usize): f32 {
  let most = f32x4.splat(0);
  for (let i: usize = 0; i < bytes; i += 16) most = f32x4.max(most, f32x4.abs(v128.load(x + i)));
  return greatest(most);
}

function whole4(x: usize, factor: v128): v128 {
  return i32x4.trunc_sat_f32x4_s(f32x4.nearest(f32x4.mul(v128.load(x), factor)));
}

/**
 * Blocks of numbers as whole numbers of 16 bits: x = scale · code, scale = largest magnitude of the block / 32767.
 * Words: x, its stride, blocks in a row, numbers in a block, a multiple of 8, codes, scales, starts, totals, centre. Of every block, its start is
 * −centre times the sum of its codes, and its total is that sum times the scale. Units are rows.
 */
export function round(step: usize, from: i32, to: i32): void {
  const blocks = whole(step, 2);
  const size = <usize>whole(step, 3);
  const centre = whole(step, 8);
  for (let row = from; row < to; row++) {
    let x = pointer(step, 0) + <usize>row * ((<usize>whole(step, 1)) << 2);
    let codes = pointer(step, 4) + <usize>row * (<usize>blocks * (size << 1));
    const first = (<usize>(row * blocks)) << 2;
    let scales = pointer(step, 5) + first;
    let starts = pointer(step, 6) + first;
    let totals = pointer(step, 7) + first;
    for (let block = 0; block < blocks; block++) {
      const most = largest(x, size << 2);
      const scale = most / LARGEST;
      const factor = f32x4.splat(most > 0 ? LARGEST / most : 0);
      let sums = i32x4.splat(0);
      const end = codes + (size << 1);
      for (; codes < end; codes += 16) {
        const a = whole4(x, factor);
        const b = whole4(x + 16, factor);
        sums = i32x4.add(sums, i32x4.add(a, b));
        v128.store(codes, i16x8.narrow_i32x4_s(a, b));
        x += 32;
      }
      const sum =
        i32x4.extract_lane(sums, 0) +
        i32x4.extract_lane(sums, 1) +
        i32x4.extract_lane(sums, 2) +
        i32x4.extract_lane(sums, 3);
      store<f32>(scales, scale);
      store<i32>(starts, -centre * sum);
      store<f32>(totals, scale * <f32>sum);
      scales += 4;
      starts += 4;
      totals += 4;
    }
  }
}
