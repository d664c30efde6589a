import { dot } from "./lanes";
import { pointer, real, whole } from "./step";

/** y = alpha x Wᵀ: x, its stride, rows, inner width, W (out, inner), y, out, alpha. Units are rows of W. */
export function dense(step: usize, from: i32, to: i32): void {
  const stride = (<usize>whole(step, 1)) << 2;
  const rows = whole(step, 2);
  const inner = whole(step, 3);
  const out = whole(step, 6);
  const alpha = real(step, 7);
  for (let o = from; o < to; o++) {
    const w = pointer(step, 4) + <usize>o * ((<usize>inner) << 2);
    for (let row = 0; row < rows; row++) {
      const y = pointer(step, 5) + ((<usize>(row * out + o)) << 2);
      store<f32>(y, alpha * dot(pointer(step, 0) + <usize>row * stride, w, inner));
    }
  }
}

/** y = alpha x W with W (inner, out): the same words. Units are groups of 16 columns. */
export function denseTurned(step: usize, from: i32, to: i32): void {
  const stride = (<usize>whole(step, 1)) << 2;
  const rows = whole(step, 2);
  const inner = whole(step, 3);
  const w = pointer(step, 4);
  const out = whole(step, 6);
  const alpha = real(step, 7);
  const end = min(to << 4, out);
  for (let row = 0; row < rows; row++) {
    const x = pointer(step, 0) + <usize>row * stride;
    const y = pointer(step, 5) + ((<usize>(row * out)) << 2);
    let o = from << 4;
    for (; o + 4 <= end; o += 4) {
      let sum = f32x4.splat(0);
      for (let k = 0; k < inner; k++)
        sum = f32x4.add(
          sum,
          f32x4.mul(v128.load32_splat(x + ((<usize>k) << 2)), v128.load(w + ((<usize>(k * out + o)) << 2))),
        );
      v128.store(y + ((<usize>o) << 2), f32x4.mul(sum, f32x4.splat(alpha)));
    }
    for (; o < end; o++) {
      let sum: f32 = 0;
      for (let k = 0; k < inner; k++)
        sum += load<f32>(x + ((<usize>k) << 2)) * load<f32>(w + ((<usize>(k * out + o)) << 2));
      store<f32>(y + ((<usize>o) << 2), alpha * sum);
    }
  }
}
