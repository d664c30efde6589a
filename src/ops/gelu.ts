import { unarySteps } from "../steps/elementwise.js";
import { erf } from "../base/erf.js";
import { unaryMap } from "../graph/nd-array.js";
import { defineOp, type Op } from "./op.js";

const ROOT = Math.sqrt(2 / Math.PI);

/**
 * The Gaussian error linear unit: y = x · Φ(x), or its tanh approximation.
 *
 * @see Hendrycks and Gimpel, "Gaussian Error Linear Units", arXiv:1606.08415, §2
 */
export const gelu: Op<1, { readonly approximate: "none" | "tanh" }> = defineOp({
  name: "gelu",
  arity: 1,
  infer: ([x]) => x,
  gradient({ f, dy, inputs: [x], attrs }) {
    if (attrs.approximate === "none") {
      // dx = dy ⊙ (Φ(x) + x φ(x))
      const cdf = f.offset(f.scale(f.erf(f.scale(x, { by: Math.SQRT1_2 })), { by: 0.5 }), { by: 0.5 });
      const pdf = f.scale(f.exp(f.scale(f.mul(x, x), { by: -0.5 })), { by: 1 / Math.sqrt(2 * Math.PI) });
      return [f.mul(dy, f.add(cdf, f.mul(x, pdf)))];
    }
    // t = tanh u, u = √(2/π)(x + 0.044715 x³); dx = dy ⊙ (½(1 + t) + ½ x (1 − t²) u′)
    const x2 = f.mul(x, x);
    const t = f.tanh(f.scale(f.mul(x, f.offset(f.scale(x2, { by: 0.044715 }), { by: 1 })), { by: ROOT }));
    const slope = f.offset(f.scale(x2, { by: 3 * 0.044715 * ROOT }), { by: ROOT });
    const inner = f.mul(f.mul(x, f.offset(f.neg(f.mul(t, t)), { by: 1 })), slope);
    return [f.mul(dy, f.scale(f.add(f.offset(t, { by: 1 }), inner), { by: 0.5 }))];
  },
  lower: ({ emit, inputs, attrs }) =>
    emit.node("Gelu", inputs, { attributes: { approximate: attrs.approximate } }),
  steps: ({ emit, inputs: [x], attrs: { approximate } }) =>
    unarySteps(emit, approximate === "tanh" ? "geluTanh" : "gelu", x),
  evaluate: ([x], { approximate }) =>
    unaryMap(x, (v) =>
      approximate === "none"
        ? 0.5 * v * (1 + erf(v * Math.SQRT1_2))
        : 0.5 * v * (1 + Math.tanh(ROOT * (v + 0.044715 * v ** 3))),
    ),
  float32Only: true,
  samples: [
    { inputs: [{ shape: [3, 5] }], attrs: { approximate: "none" } },
    { inputs: [{ shape: [3, 5] }], attrs: { approximate: "tanh" } },
  ],
});
