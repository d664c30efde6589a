import { always, gaussian, nothing } from "../base/fill.js";
import { hostTensor } from "../base/host-tensor.js";
import { Mt19937 } from "../base/mt19937.js";
import { flag, integer, number } from "../base/option.js";
import { targetOptions, biasOption } from "../base/target-options.js";
import type { Value } from "../graph/value.js";
import type { AdaptContext } from "../nn/site.js";
import { defineMethod, type Scope } from "./method.js";

/** Frozen A (r, largest in) and B (largest out, r), uniform in ±√(6 / columns), from one generator of torch's kind. */
function projection(scope: Scope, r: number, seed: number, saved: boolean) {
  const sides = scope.places.flatMap(({ site }) => (site.kind === "linear" ? [site] : []));
  const widest = Math.max(...sides.map(({ inFeatures }) => inFeatures));
  const tallest = Math.max(...sides.map(({ outFeatures }) => outFeatures));
  const random = new Mt19937(seed);
  const draw = (key: string, rows: number, columns: number) => {
    const data = new Float32Array(rows * columns);
    const bound = Math.sqrt(3) * (Math.sqrt(2) / Math.sqrt(columns));
    random.uniform(data, -bound, bound);
    return scope.shared(key, hostTensor("float32", [rows, columns], data), { saved });
  };
  return { A: draw("vera_A", r, widest), B: draw("vera_B", tallest, r) };
}

/**
 * Two trained vectors around random projections that all layers share.
 *
 * ΔW = diag(λb) B diag(λd) A
 *
 * Shapes: x (N, in) → (N, out); λd (r), λb (out); A (r, in) and B (out, r) are cut from one frozen pair for the model, as large as its
 * largest adapted layer. λb starts at zero, so the layer is unchanged before the first step. Adds r + out parameters to a layer.
 * A and B come from `projectionPrngKey` as torch's generator draws them, so that they need not be saved (`saveProjection: false`).
 *
 * @example
 * const model = await getPeftModel(base, { peftType: "VERA", r: 64, targetModules: ["q_proj", "v_proj"] });
 * @see Kopiczko et al., "VeRA: Vector-based Random Matrix Adaptation", arXiv:2310.11454, eq. 2
 */
export const vera = defineMethod({
  name: "VERA",
  title: "VeRA",
  paper: "arXiv:2310.11454",
  formula: "y = W x + λb ⊙ B (λd ⊙ A x), A and B random, frozen and shared",
  parameters: "r + out",
  advice: "Ten times fewer parameters than LoRA; rank 64-1024 and learning rates around 1e-2 make up for it.",
  sites: ["linear"],
  quantisedBase: true,
  modelDefaults: { targetModules: ["VERA", "LORA"] },
  config: {
    r: integer({ default: 256, min: 1, doc: "Rank of the shared projections, 1 or more." }),
    projectionPrngKey: integer({
      default: 0,
      min: 0,
      max: 4_294_967_295,
      doc: "Seed of the shared projections, 0 to 2³² − 1.",
    }),
    saveProjection: flag({
      default: true,
      doc: "Writes the projections into the adapter file; otherwise they are drawn again from the seed.",
    }),
    veraDropout: number({
      default: 0,
      min: 0,
      below: 1,
      doc: "Share of the branch's input dropped in training, 0 to below 1.",
    }),
    dInitial: number({ default: 0.1, doc: "Where all elements of λd start; not 0, or nothing is learnt." }),
    initWeights: flag({ default: true, doc: "Starts λb at zero; otherwise λb 1 and λd random, for tests." }),
    bias: biasOption("vera_only"),
    ...targetOptions,
  },
  ownOptions: ["excludeModules"],
  inert: { fan_in_fan_out: false, layers_pattern: null, layers_to_transform: null },
  identityStart: ({ initWeights }) => initWeights,
  mergeable: () => true,
  parameterCount: ({ site }, { r }) => (site.kind === "linear" ? r + site.outFeatures : 0),
  attach(site, config, scope) {
    const { r, projectionPrngKey, saveProjection, veraDropout, dInitial, initWeights } = config;
    const { inFeatures, outFeatures } = site;
    const shared = scope.once("projection", () => projection(scope, r, projectionPrngKey, saveProjection));
    const b = scope.param("vera_lambda_b", [outFeatures], initWeights ? nothing : always(1));
    const d = scope.param("vera_lambda_d", [r], initWeights ? always(dInitial) : gaussian(1));
    const cut = ({ f, p }: Pick<AdaptContext, "f" | "p">): [A: Value, B: Value] => [
      f.slice(p(shared.A), { axis: 1, start: 0, end: inFeatures }), // (r, in)
      f.slice(p(shared.B), { axis: 0, start: 0, end: outFeatures }), // (out, r)
    ];
    return {
      forward(context) {
        const { f, x, base, p, dropout } = context;
        const [A, B] = cut(context);
        const inner = f.mul(f.matmul(dropout(x, veraDropout), A, { transposeB: true }), p(d)); // (N, r)
        return f.add(base(x), f.mul(f.matmul(inner, B, { transposeB: true }), p(b))); // (N, out)
      },
      merged(context) {
        const { f, own, p } = context;
        const [A, B] = cut(context);
        const rows = f.mul(B, f.reshape(p(b), { shape: [outFeatures, 1] }));
        return { weight: f.add(own("weight"), f.matmul(f.mul(rows, p(d)), A, {})) };
      },
    };
  },
});
