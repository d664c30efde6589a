import { erf, exp, sigmoid, tanh } from "./lanes";
import { pointer, real, whole } from "./step";

const SILU = 2;

/** What a step over one operand does; the order is that of UNARY in src/steps/kernels.ts. */
function one(kind: i32, x: v128, by: v128): v128 {
  switch (kind) {
    case 0:
      return f32x4.mul(x, by);
    case 1:
      return f32x4.add(x, by);
    case 2:
      return f32x4.mul(x, sigmoid(x));
    case 3:
      return sigmoid(x);
    case 4:
      return tanh(x);
    case 5:
      return f32x4.max(x, f32x4.splat(0));
    case 6:
      return exp(x);
    case 7: {
      const shape = f32x4.mul(x, f32x4.splat(0.7071067811865476));
      return f32x4.mul(f32x4.mul(x, f32x4.splat(0.5)), f32x4.add(erf(shape), f32x4.splat(1)));
    }
    default: {
      const cube = f32x4.mul(f32x4.mul(x, x), x);
      const inner = f32x4.mul(
        f32x4.add(x, f32x4.mul(cube, f32x4.splat(0.044715))),
        f32x4.splat(0.7978845608028654),
      );
      return f32x4.mul(f32x4.mul(x, f32x4.splat(0.5)), f32x4.add(tanh(inner), f32x4.splat(1)));
    }
  }
}

/** What a step over two operands does; the order is that of BINARY in src/steps/kernels.ts. */
function two(kind: i32, a: v128, b: v128): v128 {
  switch (kind) {
    case 0:
      return f32x4.add(a, b);
    case 1:
      return f32x4.sub(a, b);
    case 2:
      return f32x4.mul(a, b);
    default:
      return f32x4.div(a, b);
  }
}

/** y = f(x), row by row: kind, x, stride of x, y, width, factor or summand. Units are rows. */
export function unary(step: usize, from: i32, to: i32): void {
  const kind = whole(step, 0);
  const stride = (<usize>whole(step, 2)) << 2;
  const width = whole(step, 4);
  const by = f32x4.splat(real(step, 5));
  for (let row = from; row < to; row++) {
    let x = pointer(step, 1) + <usize>row * stride;
    let y = pointer(step, 3) + <usize>row * ((<usize>width) << 2);
    let left = width;
    // The dearest in every layer of many models has a loop of its own.
    if (kind == SILU)
      for (; left >= 4; left -= 4) {
        const v = v128.load(x);
        v128.store(y, f32x4.mul(v, sigmoid(v)));
        x += 16;
        y += 16;
      }
    for (; left >= 4; left -= 4) {
      v128.store(y, one(kind, v128.load(x), by));
      x += 16;
      y += 16;
    }
    for (; left > 0; left--) {
      store<f32>(y, f32x4.extract_lane(one(kind, v128.load32_splat(x), by), 0));
      x += 4;
      y += 4;
    }
  }
}

/**
 * y = f(a, b), row by row: kind, a, its strides from row to row and from column to column, b, its strides, y, width. A stride of 0 repeats
 * a row or a number. Units are rows.
 */
export function binary(step: usize, from: i32, to: i32): void {
  const kind = whole(step, 0);
  const aRow = (<usize>whole(step, 2)) << 2;
  const aStep = whole(step, 3);
  const bRow = (<usize>whole(step, 5)) << 2;
  const bStep = whole(step, 6);
  const width = whole(step, 8);
  for (let row = from; row < to; row++) {
    let a = pointer(step, 1) + <usize>row * aRow;
    let b = pointer(step, 4) + <usize>row * bRow;
    let y = pointer(step, 7) + <usize>row * ((<usize>width) << 2);
    let left = width;
    for (; left >= 4; left -= 4) {
      const p = aStep != 0 ? v128.load(a) : v128.load32_splat(a);
      const q = bStep != 0 ? v128.load(b) : v128.load32_splat(b);
      v128.store(y, two(kind, p, q));
      a += (<usize>aStep) << 4;
      b += (<usize>bStep) << 4;
      y += 16;
    }
    for (; left > 0; left--) {
      store<f32>(y, f32x4.extract_lane(two(kind, v128.load32_splat(a), v128.load32_splat(b)), 0));
      a += (<usize>aStep) << 2;
      b += (<usize>bStep) << 2;
      y += 4;
    }
  }
}

/** Rows of x one after another: x, its stride, y, stride of y, width. Units are rows. */
export function copy(step: usize, from: i32, to: i32): void {
  const bytes = (<usize>whole(step, 4)) << 2;
  for (let row = from; row < to; row++) {
    const x = pointer(step, 0) + <usize>row * ((<usize>whole(step, 1)) << 2);
    memory.copy(pointer(step, 2) + <usize>row * ((<usize>whole(step, 3)) << 2), x, bytes);
  }
}

/** Rows of x by their numbers, which have 64 bits: x, its stride, numbers, y, width. Units are rows of y. */
export function gather(step: usize, from: i32, to: i32): void {
  const bytes = (<usize>whole(step, 4)) << 2;
  for (let row = from; row < to; row++) {
    const number = <usize>load<i64>(pointer(step, 2) + ((<usize>row) << 3));
    const x = pointer(step, 0) + number * ((<usize>whole(step, 1)) << 2);
    memory.copy(pointer(step, 3) + <usize>row * bytes, x, bytes);
  }
}
