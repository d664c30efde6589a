import { normSteps } from "../steps/norms.js";
import { ndArray, rowsOf } from "../graph/nd-array.js";
import { defineOp, type Op } from "./op.js";

/**
 * y = (x − mean(x)) / √(var(x) + epsilon) ⊙ weight + bias, over the last axis.
 *
 * Shapes: x (…, D), weight (D), bias (D) → (…, D).
 *
 * @see Ba et al., "Layer Normalization", arXiv:1607.06450, eq. 3
 */
export const layerNorm: Op<3, { readonly epsilon: number }> = defineOp({
  name: "layerNorm",
  arity: 3,
  infer: ([x]) => x,
  // x̂ = (x − μ)/σ; g = dy ⊙ w; dx = (g − mean(g) − x̂ mean(g ⊙ x̂)) / σ; dw = Σ dy ⊙ x̂; db = Σ dy
  gradient({ f, dy, inputs: [x, weight], attrs: { epsilon } }) {
    const width = x.type.shape.at(-1) as number;
    const mean = (v: typeof x) => f.scale(f.sum(v, { axis: -1, keep: true }), { by: 1 / width });
    const centred = f.sub(x, mean(x));
    const variance = f.scale(f.sumSquare(centred), { by: 1 / width });
    const inverse = f.reciprocal(f.sqrt(f.offset(variance, { by: epsilon })));
    const normal = f.mul(centred, inverse);
    const dx = () => {
      const g = f.mul(dy, weight);
      return f.mul(f.sub(f.sub(g, mean(g)), f.mul(normal, mean(f.mul(g, normal)))), inverse);
    };
    return [dx, () => f.mul(dy, normal), dy];
  },
  lower: ({ emit, inputs, attrs: { epsilon } }) =>
    emit.node("LayerNormalization", inputs, { attributes: { axis: -1, epsilon: { float: epsilon } } }),
  steps: ({ emit, inputs, attrs: { epsilon } }) => normSteps(emit, inputs, epsilon),
  evaluate([x, weight, bias], { epsilon }) {
    const y = ndArray(x.dims, x.data.slice());
    for (const row of rowsOf(y)) {
      const mean = row.reduce((sum, v) => sum + v, 0) / row.length;
      const variance = row.reduce((sum, v) => sum + (v - mean) ** 2, 0) / row.length;
      const deviation = Math.sqrt(variance + epsilon);
      row.forEach((v, i) => (row[i] = ((v - mean) / deviation) * weight.data[i]! + bias.data[i]!));
    }
    return y;
  },
  samples: [{ inputs: [{ shape: [3, 8] }, { shape: [8] }, { shape: [8] }], attrs: { epsilon: 1e-5 } }],
});
