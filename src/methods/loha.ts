import { kaiming, nothing } from "../base/fill.js";
import { flag, integer, number } from "../base/option.js";
import { patternOptions, targetOptions } from "../base/target-options.js";
import type { Value } from "../graph/value.js";
import type { AdaptContext } from "../nn/site.js";
import { defineMethod } from "./method.js";

/** Options of methods whose update can be dropped by output row or as a whole. */
export const updateDropout = {
  rankDropout: number({
    default: 0,
    min: 0,
    below: 1,
    doc: "Share of the update's output rows dropped in training, 0 to below 1.",
  }),
  moduleDropout: number({
    default: 0,
    min: 0,
    below: 1,
    doc: "How often the whole update is left out in training, 0 to below 1.",
  }),
};

/** dy (N, out) with some outputs left out, or all: what dropping rows of ΔW does. `rescale` divides by the share that is left. */
export function dropUpdate(
  { f, keep }: Pick<AdaptContext, "f" | "keep">,
  dy: Value,
  out: number,
  options: { readonly rankDropout: number; readonly moduleDropout: number; readonly rescale: boolean },
): Value {
  let y = dy;
  const rows = keep(out, options.rankDropout); // (1, out)
  if (rows !== undefined) {
    const kept = f.offset(f.scale(f.sum(rows, { axis: 1, keep: true }), { by: 1 / out }), { by: 1e-12 });
    y = f.mul(y, options.rescale ? f.div(rows, kept) : rows);
  }
  const all = keep(1, options.moduleDropout); // (1, 1)
  return all === undefined ? y : f.mul(y, all);
}

/**
 * Hadamard product of two low-rank matrices added to a frozen linear layer.
 *
 * ΔW = (α / r) · (w1a w1b) ⊙ (w2a w2b)
 *
 * Shapes: x (N, in) → (N, out); w1a, w2a (out, r); w1b, w2b (r, in).
 * Its rank is up to r² for the parameters of rank 2 r. w2b starts at zero, so the layer is unchanged before the first step. Adds
 * 2 · r · (in + out) parameters to a layer.
 * Where r² is at most half of the smaller side, ΔW is never made: it is the product of the row-wise and column-wise Kronecker
 * products (out, r²) and (r², in).
 *
 * @example
 * const model = await getPeftModel(base, { peftType: "LOHA", r: 8, alpha: 16, targetModules: ["q_proj", "v_proj"] });
 * @see Hyeon-Woo et al., "FedPara", arXiv:2108.06098, proposition 1; Yeh et al., "LyCORIS", arXiv:2309.14859
 */
export const loha = defineMethod({
  name: "LOHA",
  title: "LoHa",
  paper: "arXiv:2108.06098",
  formula: "y = W x + (α / r) · ((w1a w1b) ⊙ (w2a w2b)) x",
  parameters: "2 · r · (in + out)",
  advice: "A high-rank update for the parameters of a low-rank one; slower than LoRA at the same count.",
  sites: ["linear"],
  quantisedBase: true,
  modelDefaults: { targetModules: ["LOHA", "LORA"] },
  patterns: { rankPattern: "r", alphaPattern: "alpha" },
  config: {
    r: integer({ default: 8, min: 1, doc: "Rank of each factor, 1 or more; the update has rank up to r²." }),
    alpha: number({ default: 8, above: 0, doc: "Numerator of the scale α / r; above 0." }),
    ...updateDropout,
    initWeights: flag({ default: true, doc: "Starts w2b at zero; otherwise all at random, for tests." }),
    ...targetOptions,
    ...patternOptions,
  },
  inert: { layers_pattern: null, layers_to_transform: null, use_effective_conv2d: false },
  identityStart: ({ initWeights }) => initWeights,
  mergeable: () => true,
  parameterCount: ({ site }, { r }) => 2 * r * (site.inFeatures + site.outFeatures),
  attach(site, config, scope) {
    const { r, alpha, initWeights } = config;
    const { inFeatures, outFeatures } = site;
    const scaling = scope.scalar(alpha / r);
    const w1a = scope.param("hada_w1_a", [outFeatures, r], kaiming(r));
    const w1b = scope.param("hada_w1_b", [r, inFeatures], kaiming(inFeatures));
    const w2a = scope.param("hada_w2_a", [outFeatures, r], kaiming(r));
    const w2b = scope.param("hada_w2_b", [r, inFeatures], initWeights ? nothing : kaiming(inFeatures));
    const delta = ({ f, p }: Pick<AdaptContext, "f" | "p">): Value =>
      f.mul(f.matmul(p(w1a), p(w1b), {}), f.mul(f.matmul(p(w2a), p(w2b), {}), p(scaling))); // (out, in)
    const factored = r * r <= Math.min(inFeatures, outFeatures) / 2;
    return {
      forward(context) {
        const { f, x, base, p } = context;
        let dy: Value;
        if (factored) {
          const outer = f.mul(f.unsqueeze(p(w1a), { axis: 2 }), f.unsqueeze(p(w2a), { axis: 1 })); // (out, r, r)
          const inner = f.mul(f.unsqueeze(p(w1b), { axis: 1 }), f.unsqueeze(p(w2b), { axis: 0 })); // (r, r, in)
          const z = f.matmul(x, f.reshape(inner, { shape: [r * r, inFeatures] }), { transposeB: true }); // (N, r²)
          const rows = f.reshape(outer, { shape: [outFeatures, r * r] });
          dy = f.matmul(f.mul(z, p(scaling)), rows, { transposeB: true }); // (N, out)
        } else dy = f.matmul(x, delta(context), { transposeB: true });
        return f.add(base(x), dropUpdate(context, dy, outFeatures, { ...config, rescale: true }));
      },
      merged: (context) => ({ weight: context.f.add(context.own("weight"), delta(context)) }),
    };
  },
});
