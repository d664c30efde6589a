import { alias, choice, flag, flagOr, integer, names, number, numbersByName } from "../base/option.js";
import type { Random } from "../base/random.js";
import { defineMethod, type Initialiser } from "./method.js";

/** U(±1/√width): what Kaiming's rule gives with a = √5. */
const kaiming =
  (width: number): Initialiser =>
  (data, random) => {
    for (let i = 0; i < data.length; i += 1) data[i] = random.uniform(-1, 1) / Math.sqrt(width);
  };

const gaussian =
  (deviation: number): Initialiser =>
  (data: Float32Array, random: Random) => {
    for (let i = 0; i < data.length; i += 1) data[i] = deviation * random.normal();
  };

const nothing: Initialiser = () => undefined;

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
  sites: ["linear", "embedding"],
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
    targetModules: alias(
      names({ doc: "Modules to adapt: names or dotted suffixes, a regular expression, or all-linear." }),
      "loraTargetModules",
    ),
    excludeModules: names({ doc: "Modules to leave alone, in the same spellings." }),
    rankPattern: numbersByName({ doc: "Ranks of single modules, by name or pattern." }),
    alphaPattern: numbersByName({ doc: "Values of loraAlpha of single modules, by name or pattern." }),
    bias: choice({ values: ["none"], default: "none", doc: "Which biases are trained: none." }),
  },
  inert: {
    fan_in_fan_out: false,
    megatron_core: "megatron.core",
    qalora_group_size: 16,
  },
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
