import { ndArray } from "../graph/nd-array.js";
import { defineOp, type Op } from "./op.js";

const SPREAD = 4096;

/**
 * y = x / (1 − p) where the hash of (row, column) is at least p, else 0.
 *
 * The hash is the fraction of a_n + b_d + 4096 c_n e_d, with (a, c) drawn once a row and (b, e) once a column, uniform in
 * [0, 1): the same mask comes back when the backward pass recomputes it, and nothing of the size of x is drawn or kept.
 *
 * Shapes: x (N, D), rowKeys (N, 2), columnKeys (2, D) → (N, D).
 */
export const dropout: Op<3, { readonly p: number }> = defineOp({
  name: "dropout",
  arity: 3,
  infer: ([x]) => x,
  gradient: ({ f, dy, inputs: [, rows, columns], attrs }) => [
    f.dropout(dy, rows, columns, attrs),
    undefined,
    undefined,
  ],
  lower({ emit, inputs: [x, rows, columns], type, attrs: { p } }) {
    const number = (value: number) => emit.constant(type.dtype, [], [value]);
    const index = (value: number) => emit.constant("int64", [1], [value]);
    const part = (name: string, axis: number, at: number) =>
      emit.node("Slice", [name, index(at), index(at + 1), index(axis)]);
    const product = emit.node("Mul", [
      emit.node("Mul", [part(rows, 1, 1), number(SPREAD)]),
      part(columns, 0, 1),
    ]);
    const sum = emit.node("Add", [emit.node("Add", [product, part(rows, 1, 0)]), part(columns, 0, 0)]);
    const hash = emit.node("Sub", [sum, emit.node("Floor", [sum])]);
    const kept = emit.node("Cast", [emit.node("GreaterOrEqual", [hash, number(p)])], {
      attributes: { to: type.dtype === "float64" ? 11 : 1 },
    });
    return emit.node("Mul", [emit.node("Mul", [x, number(1 / (1 - p))]), kept]);
  },
  evaluate([x, rows, columns], { p }) {
    const [count, width] = x.dims as [number, number];
    const y = ndArray(x.dims);
    for (let n = 0; n < count; n += 1) {
      for (let d = 0; d < width; d += 1) {
        const product = SPREAD * rows.data[2 * n + 1]! * columns.data[width + d]!;
        const sum = product + rows.data[2 * n]! + columns.data[d]!;
        y.data[n * width + d] = sum - Math.floor(sum) >= p ? x.data[n * width + d]! / (1 - p) : 0;
      }
    }
    return y;
  },
  samples: [
    {
      inputs: [{ shape: [6, 5] }, { shape: [6, 2], kind: "uniform" }, { shape: [2, 5], kind: "uniform" }],
      attrs: { p: 0.3 },
    },
  ],
});
