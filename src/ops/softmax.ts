import { ndArray, rowsOf } from "../graph/nd-array.js";
import { defineOp, type Op } from "./op.js";

/** y_i = e^(x_i) / Σ_j e^(x_j) over the last axis. */
export const softmax: Op<1> = defineOp({
  name: "softmax",
  arity: 1,
  infer: ([x]) => x,
  // dx = y ⊙ (dy − Σ dy ⊙ y)
  gradient: ({ f, dy, y }) => [f.mul(y, f.sub(dy, f.sum(f.mul(dy, y), { axis: -1, keep: true })))],
  lower: ({ emit, inputs }) => emit.node("Softmax", inputs, { attributes: { axis: -1 } }),
  evaluate([x]) {
    const y = ndArray(x.dims, x.data.slice());
    for (const row of rowsOf(y)) {
      const top = Math.max(...row);
      const total = row.reduce((sum, v) => sum + Math.exp(v - top), 0);
      row.forEach((v, i) => (row[i] = Math.exp(v - top) / total));
    }
    return y;
  },
  samples: [{ inputs: [{ shape: [2, 3, 5] }], attrs: {} }],
});
