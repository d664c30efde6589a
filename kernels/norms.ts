import { total } from "./lanes";
import { pointer, real, whole } from "./step";

/** Σ (x − shift)², or Σ x where `squares` is not asked for. */
function sumOf(x: usize, width: i32, shift: f32, squares: bool): f32 {
  let sum = f32x4.splat(0);
  const by = f32x4.splat(shift);
  let i = 0;
  for (; i + 4 <= width; i += 4) {
    const v = f32x4.sub(v128.load(x + ((<usize>i) << 2)), by);
    sum = f32x4.add(sum, squares ? f32x4.mul(v, v) : v);
  }
  let rest = total(sum);
  for (; i < width; i++) {
    const v = load<f32>(x + ((<usize>i) << 2)) - shift;
    rest += squares ? v * v : v;
  }
  return rest;
}

/** y = (x − mean) / √(variance + ε) · weight + bias, or without the mean: x, its stride, weight, bias or 0, y, width, ε, whether centred. */
export function norm(step: usize, from: i32, to: i32): void {
  const width = whole(step, 5);
  const weight = pointer(step, 2);
  const bias = pointer(step, 3);
  for (let row = from; row < to; row++) {
    const x = pointer(step, 0) + <usize>row * ((<usize>whole(step, 1)) << 2);
    const y = pointer(step, 4) + <usize>row * ((<usize>width) << 2);
    const mean: f32 = whole(step, 7) != 0 ? sumOf(x, width, 0, false) / <f32>width : 0;
    const factor: f32 = 1 / sqrt<f32>(sumOf(x, width, mean, true) / <f32>width + real(step, 6));
    const shift = f32x4.splat(mean);
    const by = f32x4.splat(factor);
    let i = 0;
    for (; i + 4 <= width; i += 4) {
      const at = (<usize>i) << 2;
      let v = f32x4.mul(f32x4.mul(f32x4.sub(v128.load(x + at), shift), by), v128.load(weight + at));
      if (bias != 0) v = f32x4.add(v, v128.load(bias + at));
      v128.store(y + at, v);
    }
    for (; i < width; i++) {
      const at = (<usize>i) << 2;
      const v = (load<f32>(x + at) - mean) * factor * load<f32>(weight + at);
      store<f32>(y + at, bias != 0 ? v + load<f32>(bias + at) : v);
    }
  }
}

/** Sums over the last axis: x, y, width. Units are sums. */
export function sums(step: usize, from: i32, to: i32): void {
  const width = whole(step, 2);
  for (let row = from; row < to; row++) {
    const x = pointer(step, 0) + <usize>row * ((<usize>width) << 2);
    store<f32>(pointer(step, 1) + ((<usize>row) << 2), sumOf(x, width, 0, false));
  }
}
