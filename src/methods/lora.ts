import { gaussian, kaiming, nothing } from "../base/fill.js";
import { alias, choice, flag, flagOr, integer, number } from "../base/option.js";
import { patternOptions, targetOptions } from "../base/target-options.js";
import { defineMethod } from "./method.js";

/** How A and B of a linear layer start, by the value of `initLoraWeights`. */
const linearInit = {
  true: (width: number, _r: number) => [kaiming(width), nothing],
  false: (width: number, r: number) => [kaiming(width), kaiming(r)],
  gaussian: (_width: number, r: number) => [gaussian(1 / r), nothing],
} as const;

/**
 * Low-rank update of a frozen layer.
 *
 * Linear: y = W x + s · B A dropout(x). Embedding: y = W[i] + s · B A[:, i]. s = α / r, or α / √r with rsLoRA.
 *
 * Shapes: x (N, in) → (N, out); A (r, in); B (out, r). Embedding: A (r, V), B (D, r).
 * B starts at zero (for an embedding, A), so the layer is unchanged before the first step.
 * Adds r · (in + out) parameters to a layer.
 * Differs from the paper: A is Kaiming-uniform, as in the authors' code, not Gaussian.
 *
 * @example
 * const model = await getPeftModel(base, { peftType: "LORA", r: 8, loraAlpha: 16, targetModules: ["q_proj", "v_proj"] });
 * @see Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", arXiv:2106.09685, §4.1; rank-stabilised scaling:
 * Kalajdzievski, arXiv:2312.03732, eq. 4
 */
export const lora = defineMethod({
  name: "LORA",
  title: "LoRA",
  paper: "arXiv:2106.09685",
  formula: "y = W x + (α / r) · B A x",
  parameters: "r · (in + out)",
  advice:
    "The first choice: r 8 with alpha 2 r, on query and value or on all linear layers; dropout 0.05-0.2 on small data.",
  sites: ["linear", "embedding"],
  mixedBatch: true,
  quantisedBase: true,
  modelDefaults: { targetModules: ["LORA"] },
  lowRank: true,
  patterns: { rankPattern: "r", alphaPattern: "loraAlpha" },
  config: {
    r: alias(integer({ default: 8, min: 1, doc: "Rank of the update, 1 or more." }), "loraR"),
    loraAlpha: number({ default: 8, above: 0, doc: "Numerator of the scale α / r; above 0." }),
    loraDropout: number({
      default: 0,
      min: 0,
      below: 1,
      doc: "Share of the branch's input dropped in training, 0 to below 1.",
    }),
    useRslora: flag({ default: false, doc: "Scales by α / √r instead of α / r." }),
    initLoraWeights: flagOr({
      values: ["gaussian"],
      default: true,
      doc: "How A and B start: true (Kaiming, zero), false (both random), gaussian (normal, zero).",
    }),
    ...targetOptions,
    ...patternOptions,
    ensureWeightTying: flag({
      default: false,
      doc: "Trains modules to save that share a weight, such as a tied head, as one.",
    }),
    bias: choice({ values: ["none"], default: "none", doc: "Which biases are trained: none." }),
  },
  inert: {
    alora_invocation_tokens: null,
    arrow_config: null,
    corda_config: null,
    eva_config: null,
    fan_in_fan_out: false,
    layer_replication: null,
    layers_pattern: null,
    layers_to_transform: null,
    megatron_config: null,
    megatron_core: "megatron.core",
    qalora_group_size: 16,
    target_parameters: null,
    trainable_token_indices: null,
  },
  identityStart: ({ initLoraWeights }) => initLoraWeights !== false,
  mergeable: () => true,
  parameterCount: ({ site }, { r }) =>
    site.kind === "embedding"
      ? r * (site.vocabularySize + site.width)
      : r * (site.inFeatures + site.outFeatures),
  attach(site, { r, loraAlpha, loraDropout, useRslora, initLoraWeights }, scope) {
    const rank = { symbol: "r", size: r };
    const scaling = scope.scalar(loraAlpha / (useRslora ? Math.sqrt(r) : r));
    if (site.kind === "embedding") {
      const zeroA = initLoraWeights === false ? gaussian(1) : nothing;
      const A = scope.param("lora_embedding_A", [rank, site.vocabularySize], zeroA);
      const B = scope.param("lora_embedding_B", [site.width, rank], gaussian(1));
      return {
        forward({ f, x, base, p }) {
          const rows = f.gather(f.transpose(p(A), { axes: [1, 0] }), x); // (N, r)
          return f.add(base(x), f.matmul(f.mul(rows, p(scaling)), p(B), { transposeB: true }));
        },
        merged({ f, own, p }) {
          const update = f.matmul(p(A), p(B), { transposeA: true, transposeB: true }); // (V, D)
          return { weight: f.add(own("weight"), f.mul(update, p(scaling))) };
        },
      };
    }
    const [initA, initB] = linearInit[`${initLoraWeights}`](site.inFeatures, r);
    const A = scope.param("lora_A.weight", [rank, site.inFeatures], initA!);
    const B = scope.param("lora_B.weight", [site.outFeatures, rank], initB!);
    return {
      forward({ f, x, base, p, dropout }) {
        const inner = f.matmul(dropout(x, loraDropout), p(A), { transposeB: true }); // (N, r)
        return f.add(base(x), f.matmul(f.mul(inner, p(scaling)), p(B), { transposeB: true }));
      },
      merged: ({ f, own, p }) => ({
        weight: f.add(own("weight"), f.mul(f.matmul(p(B), p(A), {}), p(scaling))),
      }),
    };
  },
});
