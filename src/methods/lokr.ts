import { type Initialiser, kaiming, nothing } from "../base/fill.js";
import { flag, flagOr, integer, number } from "../base/option.js";
import { patternOptions, targetOptions } from "../base/target-options.js";
import type { Value } from "../graph/value.js";
import type { AdaptContext } from "../nn/site.js";
import { dropUpdate, updateDropout } from "./loha.js";
import { defineMethod } from "./method.js";

/**
 * A size as a product of two: `factor` and the rest where it divides, else the smaller first, as near to each other as the divisors
 * allow with the smaller at most `factor`; −1 sets no limit.
 */
export function factorise(size: number, factor: number): [first: number, second: number] {
  if (factor > 0 && size % factor === 0) return [factor, size / factor];
  const limit = factor === -1 ? size : factor;
  let best = 1;
  for (let m = 2; m * m <= size && m <= limit; m += 1) if (size % m === 0) best = m;
  return [best, size / best];
}

/**
 * Kronecker product of two small matrices added to a frozen linear layer.
 *
 * ΔW = (α / r) · w1 ⊗ w2, where either can itself be a product of rank r.
 *
 * Shapes: in = m · n and out = l · k, as near to squares as their divisors allow; x (N, in) → (N, out); w1 (l, m), or w1a (l, r) and
 * w1b (r, m); w2 (k, n), or w2a (k, r) and w2b (r, n) where r is below half of the larger side.
 * w1 starts at zero (w1a where it is decomposed), so the layer is unchanged before the first step.
 * ΔW is never made: (w1 ⊗ w2) x is two small products with x as a matrix (m, n).
 *
 * @example
 * const model = await getPeftModel(base, { peftType: "LOKR", r: 8, alpha: 8, targetModules: ["q_proj", "v_proj"] });
 * @see Yeh et al., "Navigating Text-To-Image Customization: From LyCORIS Fine-Tuning to Model Evaluation", arXiv:2309.14859, §3.2
 */
export const lokr = defineMethod({
  name: "LOKR",
  title: "LoKr",
  paper: "arXiv:2309.14859",
  formula: "y = W x + (α / r) · (w1 ⊗ w2) x",
  parameters:
    "l · m + r · (k + n), with in = m · n and out = l · k; a factor of rank r where r is small enough",
  advice:
    "The smallest files of the LoRA relatives at a given rank; repeated structure between blocks of a weight.",
  sites: ["linear"],
  quantisedBase: true,
  modelDefaults: { targetModules: ["LOKR", "LORA"] },
  patterns: { rankPattern: "r", alphaPattern: "alpha" },
  config: {
    r: integer({ default: 8, min: 1, doc: "Rank of the decomposed factors, 1 or more." }),
    alpha: number({ default: 8, above: 0, doc: "Numerator of the scale α / r; above 0." }),
    ...updateDropout,
    decomposeBoth: flag({
      default: false,
      doc: "Decomposes w1 too, where r is below half of its larger side.",
    }),
    decomposeFactor: integer({
      default: -1,
      min: -1,
      doc: "Largest size of the smaller factor, 1 or more; -1 for factors as near to each other as possible.",
    }),
    rankDropoutScale: flag({ default: false, doc: "Divides by the share of rows that rankDropout leaves." }),
    initWeights: flagOr({
      values: ["lycoris"],
      default: true,
      doc: "How it starts: true (w1 zero), lycoris (w2 zero), false (all at random, for tests).",
    }),
    ...targetOptions,
    ...patternOptions,
  },
  inert: { layers_pattern: null, layers_to_transform: null, use_effective_conv2d: false },
  identityStart: ({ initWeights }) => initWeights !== false,
  mergeable: () => true,
  parameterCount({ site }, config) {
    const { r } = config;
    const { l, k, m, n, full1, full2 } = sizes(site, config);
    return (full1 ? l * m : r * (l + m)) + (full2 ? k * n : r * (k + n));
  },
  attach(site, config, scope) {
    const { r, alpha, initWeights } = config;
    const { l, k, m, n, full1, full2 } = sizes(site, config);
    const scaling = scope.scalar(alpha / r);
    const zero1 = initWeights === true;
    const zero2 = initWeights === "lycoris";
    const factor = (
      key: string,
      rows: number,
      columns: number,
      full: boolean,
      starts: { readonly full: boolean; readonly a: boolean; readonly b: boolean },
    ): ((context: Pick<AdaptContext, "f" | "p">) => Value) => {
      const start = (width: number, zero: boolean): Initialiser => (zero ? nothing : kaiming(width));
      if (full) {
        const w = scope.param(key, [rows, columns], start(columns, starts.full));
        return ({ p }) => p(w);
      }
      const a = scope.param(`${key}_a`, [rows, r], start(r, starts.a));
      const b = scope.param(`${key}_b`, [r, columns], start(columns, starts.b));
      return ({ f, p }) => f.matmul(p(a), p(b), {});
    };
    const w1 = factor("lokr_w1", l, m, full1, { full: zero1, a: zero1, b: false });
    const w2 = factor("lokr_w2", k, n, full2, { full: zero2, a: false, b: zero2 });
    return {
      forward(context) {
        const { f, x, base, p } = context;
        const N = x.type.shape[0]!;
        const blocks = f.reshape(x, { shape: [`${N}·${m}`, n] });
        const right = f.matmul(blocks, f.mul(w2(context), p(scaling)), { transposeB: true }); // (N m, k)
        const turned = f.transpose(f.reshape(right, { shape: [N, m, k] }), { axes: [0, 2, 1] }); // (N, k, m)
        const left = f.matmul(f.reshape(turned, { shape: [`${N}·${k}`, m] }), w1(context), {
          transposeB: true,
        });
        const back = f.transpose(f.reshape(left, { shape: [N, k, l] }), { axes: [0, 2, 1] }); // (N, l, k)
        const dy = f.reshape(back, { shape: [N, l * k] });
        return f.add(
          base(x),
          dropUpdate(context, dy, l * k, { ...config, rescale: config.rankDropoutScale }),
        );
      },
      merged(context) {
        const { f, own, p } = context;
        const [left, right] = [w1(context), w2(context)];
        const product = f.mul(
          f.reshape(left, { shape: [l, 1, m, 1] }),
          f.reshape(f.mul(right, p(scaling)), { shape: [1, k, 1, n] }),
        ); // (l, k, m, n)
        return { weight: f.add(own("weight"), f.reshape(product, { shape: [l * k, m * n] })) };
      },
    };
  },
});

/** How a layer is cut into two factors, and which of them are whole. */
function sizes(
  { inFeatures, outFeatures }: { readonly inFeatures: number; readonly outFeatures: number },
  config: { readonly r: number; readonly decomposeBoth: boolean; readonly decomposeFactor: number },
): { l: number; k: number; m: number; n: number; full1: boolean; full2: boolean } {
  const { r, decomposeBoth, decomposeFactor } = config;
  const [m, n] = factorise(inFeatures, decomposeFactor);
  const [l, k] = factorise(outFeatures, decomposeFactor);
  return {
    l,
    k,
    m,
    n,
    full1: !(decomposeBoth && r < Math.max(l, m) / 2),
    full2: !(r < Math.max(k, n) / 2),
  };
}
