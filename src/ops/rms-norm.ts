import { normSteps } from "../steps/norms.js";
import { ndArray, rowsOf } from "../graph/nd-array.js";
import { defineOp, type Op } from "./op.js";

/**
 * y = x / √(mean(x²) + epsilon) ⊙ weight, over the last axis.
 *
 * Shapes: x (…, D), weight (D) → (…, D).
 *
 * @see Zhang and Sennrich, "Root Mean Square Layer Normalization", arXiv:1910.07467, eq. 4
 */
export const rmsNorm: Op<2, { readonly epsilon: number }> = defineOp({
  name: "rmsNorm",
  arity: 2,
  infer: ([x]) => x,
  // r = 1 / rms; g = dy ⊙ w; dx = r g − r³ mean(g ⊙ x) x; dw = Σ dy ⊙ x r
  gradient({ f, dy, inputs: [x, weight], attrs: { epsilon } }) {
    const width = x.type.shape.at(-1) as number;
    const square = f.sumSquare(x);
    const inverse = f.reciprocal(f.sqrt(f.offset(f.scale(square, { by: 1 / width }), { by: epsilon })));
    const dx = () => {
      const g = f.mul(dy, weight);
      const mean = f.scale(f.sum(f.mul(g, x), { axis: -1, keep: true }), { by: 1 / width });
      // Factors of a row are put together before they meet its elements.
      const pull = f.mul(f.mul(f.mul(inverse, inverse), inverse), mean);
      return f.sub(f.mul(g, inverse), f.mul(x, pull));
    };
    return [dx, () => f.mul(dy, f.mul(x, inverse))];
  },
  lower: ({ emit, inputs, attrs: { epsilon } }) =>
    emit.node("SimplifiedLayerNormalization", inputs, {
      attributes: { axis: -1, epsilon: { float: epsilon } },
    }),
  steps: ({ emit, inputs, attrs: { epsilon } }) => normSteps(emit, inputs, epsilon),
  evaluate([x, weight], { epsilon }) {
    const y = ndArray(x.dims, x.data.slice());
    for (const row of rowsOf(y)) {
      const rms = Math.sqrt(row.reduce((sum, v) => sum + v * v, 0) / row.length + epsilon);
      row.forEach((v, i) => (row[i] = (v / rms) * weight.data[i]!));
    }
    return y;
  },
  float32Only: true,
  samples: [
    { inputs: [{ shape: [3, 8] }, { shape: [8] }], attrs: { epsilon: 1e-5 } },
    { inputs: [{ shape: [2, 3, 4] }, { shape: [4] }], attrs: { epsilon: 1e-6 } },
  ],
});
