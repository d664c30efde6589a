import { type NdArray, ndArray } from "../graph/nd-array.js";
import type { TensorType } from "../base/tensor-type.js";
import type { Emitter } from "../onnx/emitter.js";
import { defineOp, type Op, shapeMismatch } from "./op.js";

/** Codes reach from −127 to 127. */
const LARGEST = 127;

/** Rows of nothing but zeros are divided by this. */
const TINY = 1e-30;

/** The nearest whole number, halves to the even one. */
export const roundHalfEven = (x: number): number => {
  const down = Math.floor(x);
  const rest = x - down;
  return rest > 0.5 || (rest === 0.5 && down % 2 !== 0) ? down + 1 : down;
};

/** Whether x (N, in) can be multiplied with codes (in, out) that have scales (out). */
export const fitsInt8 = (x: TensorType, codes: TensorType, scales: TensorType): boolean =>
  x.shape.length === 2 &&
  x.shape[1] === codes.shape[0] &&
  scales.shape.join() === String(codes.shape[1]) &&
  codes.dtype === "int8";

/** The nodes of x W for codes (in, out) with scales (out). */
export function lowerInt8(emit: Emitter, x: string, codes: string, scales: string): string {
  const real = (value: number): string => emit.constant("float32", [], [value]);
  // Products that read one x repeat these nodes, and the runtime makes one of equal ones.
  const axis = emit.constant("int64", [1], [1]);
  const extreme = (op: "ReduceMax" | "ReduceMin"): string =>
    emit.node(op, [x, axis], { attributes: { keepdims: 1 } });
  // Two passes that read are cheaper than one that writes all magnitudes.
  const row = emit.node("Max", [extreme("ReduceMax"), emit.node("Neg", [extreme("ReduceMin")]), real(TINY)]);
  const zero = emit.constant("uint8", [], [LARGEST + 1]);
  const step = real(1 / LARGEST);
  const rounded = emit.node("QuantizeLinear", [emit.node("Div", [x, row]), step, zero]);
  const product = emit.node("MatMulIntegerToFloat", [rounded, codes, step, scales, zero], {
    domain: "com.microsoft",
  });
  return emit.node("Mul", [product, row]);
}

/** The same by definition. */
export function evaluateInt8(x: NdArray, codes: NdArray, scales: NdArray): NdArray {
  const [rows, width] = x.dims as [number, number];
  const out = codes.dims[1]!;
  const y = ndArray([rows, out]);
  for (let i = 0; i < rows; i += 1) {
    const row = x.data.subarray(i * width, (i + 1) * width);
    const largest = row.reduce((most, value) => Math.max(most, Math.abs(value)), TINY);
    const rounded = row.map((value) => roundHalfEven((value / largest) * LARGEST));
    for (let j = 0; j < out; j += 1) {
      const sum = rounded.reduce((total, q, k) => total + q * codes.data[k * out + j]!, 0);
      y.data[i * out + j] = (sum / LARGEST) * scales.data[j]! * largest;
    }
  }
  return y;
}

/**
 * y = x W in whole numbers of 8 bits: every row of x is divided by its largest magnitude and rounded to 1/127, W = codes · scales
 * with a scale for each column; sums are exact, and y is float32 again.
 *
 * Shapes: x (N, in), codes (in, out) int8, scales (out), turned (out, in) int8, turnedScales (in) → (N, out). `turned` is Wᵀ
 * with scales of its own, for the gradient: dL/dx = dL/dy Wᵀ is computed the same way. W is frozen.
 */
export const int8Matmul: Op<5> = defineOp({
  name: "int8Matmul",
  arity: 5,
  infer([x, codes, scales, turned, turnedScales]) {
    const [inner, out] = codes.shape;
    const fits =
      fitsInt8(x, codes, scales) &&
      turned.shape.join() === [out, inner].join() &&
      turnedScales.shape.join() === String(inner) &&
      turned.dtype === "int8";
    if (!fits) {
      throw shapeMismatch("int8Matmul", "x, the codes and their scales do not fit", [
        x,
        codes,
        scales,
        turned,
        turnedScales,
      ]);
    }
    return { dtype: x.dtype, shape: [x.shape[0]!, out!] };
  },
  gradient: ({ f, dy, inputs: [, codes, scales, turned, turnedScales] }) => [
    () => f.int8Matmul(dy, turned, turnedScales, codes, scales),
    undefined,
    undefined,
    undefined,
    undefined,
  ],
  lower: ({ emit, inputs: [x, codes, scales] }) => lowerInt8(emit, x, codes, scales),
  evaluate: ([x, codes, scales]) => evaluateInt8(x, codes, scales),
  multiplies: "int8",
  // Codes up to 64, which every processor adds exactly.
  samples: [
    {
      inputs: [
        { shape: [3, 8] },
        { shape: [8, 5], kind: "index", below: 65, dtype: "int8" },
        { shape: [5], kind: "uniform" },
        { shape: [5, 8], kind: "index", below: 65, dtype: "int8" },
        { shape: [8], kind: "uniform" },
      ],
      attrs: {},
    },
  ],
  float32Only: true,
  rounds: true,
});
