import { UnsupportedError } from "../base/errors.js";
import { gaussian, nothing } from "../base/fill.js";
import { integersOrByName, alias, flag, flagOr, integer, number, textForm } from "../base/option.js";
import { moduleEntries } from "../base/module-pattern.js";
import { patternOptions, targetOptions, biasOption } from "../base/target-options.js";
import type { Value } from "../graph/value.js";
import type { Parameter } from "../nn/parameter.js";
import { doraEmbedding, doraLinear } from "./lora-dora.js";
import { fitPair } from "./lora-loftq.js";
import { keepResidual } from "./lora-residual.js";
import type { StartOptions } from "./lora-pair.js";
import { checkParameterPlaces, isOwnUpdate, parameterFaults, parameterUpdate } from "./lora-parameter.js";
import { PISSA_ITERATIONS, startNames, startOf, startOptions, startsBySettings } from "./lora-start.js";
import { type Companion, type ConfigFault, defineMethod, type MethodDefinition } from "./method.js";
import { trainableTokens } from "./trainable-tokens.js";

/** Rows of an embedding that are trained beside A and B. */
const tokenRows = (tokenIndices: readonly number[], targets?: readonly string[]): Companion => ({
  method: trainableTokens as unknown as MethodDefinition,
  config: { tokenIndices, initWeights: true },
  option: "trainableTokenIndices",
  ...(targets === undefined ? {} : { targets }),
  prefix: "token_adapter.",
});

const startSettings = [...startsBySettings.keys()];

/** Settings of a start that is another than the one that is chosen. */
function strayGroups(config: StartOptions & Readonly<Record<string, unknown>>): ConfigFault[] {
  return [...startsBySettings]
    .filter(([option, start]) => {
      const given = config[option];
      return (
        given !== undefined && Object.keys(given as object).length > 0 && config.initLoraWeights !== start
      );
    })
    .map(([option, start]) => ({
      keys: [option, "initLoraWeights"],
      text: `${String(config.initLoraWeights)}: it has an effect with ${start} alone`,
      fix: { [option]: undefined },
    }));
}

const noBias = (path: string): UnsupportedError =>
  new UnsupportedError({
    code: "cannot_merge",
    summary: `The adapter at ${path} cannot be merged: loraBias needs a bias of the layer to add to, and it has none.`,
    fixes: ["keep base and adapter apart; they can be used together as they are"],
    fields: { path },
  });

/**
 * Low-rank update of a frozen layer.
 *
 * Linear: y = W x + s · B A dropout(x). Embedding: y = W[i] + s · B A[:, i]. s = α / r, or α / √r with rsLoRA.
 *
 * Shapes: x (N, in) → (N, out); A (r, in); B (out, r). Embedding: A (r, V), B (D, r).
 * B starts at zero (for an embedding, A), so the layer is unchanged before the first step.
 * Adds r · (in + out) parameters to a layer; `useDora` and `loraBias` out more.
 * `useDora`: y = m / ‖W + s B A‖ ⊙ (W + s B A) x, with m the lengths of W's rows at the start; the sum is never made.
 * `pissa`, `pissa_niter_N`, `olora`, `corda`, `lora_ga`: A and B start as a part of W and y = W x + s · (B A − B₀ A₀) x; the base stays as it is, and what
 * is saved is an ordinary LoRA of rank 2 r.
 * `targetParameters`: P + s · B A of a parameter P as the model keeps it; for a linear layer's weight the same as the layer itself.
 * `eva`: A starts as directions of the layer's inputs, which calibration batches show; ranks move to the layers that they explain most of.
 * `mica`: B starts as the left singular vectors of the smallest singular values of W and is not trained; A starts at zero.
 * `loftq`: y = Q x + s · B A x, with Q the weight in 4 or 8 bits and s · B A the nearest to W − Q of its rank; Q stands in for W while the
 * adapter is active, and is made anew from W when the adapter is loaded.
 * Differs from Hugging Face: s · B A of `loftq` is what is missing whatever s is (there B A is, so that the two agree where s = 1);
 * `whiten` of `eva` divides once, also where layers share their inputs; `scale: "stable"` of `lora_ga` takes
 * the outputs of a layer also where its weight is kept turned round.
 * Differs from the paper: A is Kaiming-uniform, as in the authors' code, not Gaussian.
 *
 * @example
 * const model = await getPeftModel(base, { peftType: "LORA", r: 8, loraAlpha: 16, targetModules: ["q_proj", "v_proj"] });
 * @see Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", arXiv:2106.09685, §4.1; rank-stabilised scaling:
 * Kalajdzievski, arXiv:2312.03732, eq. 4; DoRA: Liu et al., arXiv:2402.09353; PiSSA: Meng et al., arXiv:2404.02948; OLoRA: Büyükakyüz,
 * arXiv:2406.01775; EVA: Paischer et al., arXiv:2410.07170; CorDA:
 * Yang et al., arXiv:2406.05223; LoRA-GA: Wang et al., arXiv:2407.05000; MiCA: arXiv:2604.01694; LoftQ: Li et al.,
 * arXiv:2310.08659
 */
export const lora = defineMethod({
  name: "LORA",
  title: "LoRA",
  paper: "arXiv:2106.09685",
  formula: "y = W x + (α / r) · B A x",
  parameters: "r · (in + out), + out with useDora or loraBias",
  advice:
    "The first choice: r 8 with alpha 2 r, on query and value or on all linear layers; dropout 0.05-0.2 on small data.",
  sites: ["linear", "embedding"],
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
    useDora: flag({ default: false, doc: "Gives the rows of W + s B A trained lengths (DoRA)." }),
    loraBias: flag({ default: false, doc: "Adds a trained bias to B." }),
    initLoraWeights: flagOr({
      values: startNames,
      form: textForm<`pissa_niter_${number}`>("pissa_niter_<n>", PISSA_ITERATIONS),
      default: true,
      doc:
        "How A and B start: true (Kaiming, zero), false (both random), gaussian (normal, zero), orthogonal (both, with product " +
        "zero), pissa (largest singular vectors of W), pissa_niter_<n> (the same, roughly and fast), olora (QR of W), eva " +
        "(directions of the inputs), corda (W as the inputs weigh it), lora_ga (gradient of W), mica (B: smallest singular vectors of W, " +
        "not trained), loftq (what quantising W loses). eva, corda and lora_ga look at data.",
    }),
    ...startOptions,
    ...targetOptions,
    targetParameters: moduleEntries({
      doc:
        "Parameters to adapt by themselves, such as q_proj.weight, in the spellings of targetModules; alone where targetModules is " +
        "left out. Without dropout, useDora and loraBias.",
      example: ["q_proj.weight"],
    }),
    ...patternOptions,
    ensureWeightTying: flag({
      default: false,
      doc: "Trains modules to save that share a weight, such as a tied head, as one.",
    }),
    bias: biasOption("lora_only"),
    trainableTokenIndices: integersOrByName({
      min: 0,
      doc: "Ids of tokens whose rows of the input embedding are trained too, or such ids by module.",
    }),
  },
  inert: {
    alora_invocation_tokens: null,
    arrow_config: null,
    ensure_weight_tying: false,
    fan_in_fan_out: false,
    kasa_config: null,
    layer_replication: null,
    layers_pattern: null,
    layers_to_transform: null,
    megatron_config: null,
    megatron_core: "megatron.core",
    monteclora_config: null,
    qalora_group_size: 16,
    use_bdlora: null,
    use_qalora: false,
    velora_config: null,
  },
  identityStart: ({ initLoraWeights }) => startOf(initLoraWeights).moves !== true,
  mergeable: () => true,
  check(config) {
    const { initLoraWeights, useDora, loraBias, r } = config;
    const faults = [...strayGroups(config), ...parameterFaults(config)];
    if (useDora && startOf(initLoraWeights).takesWeight === true) {
      const text = "true: the lengths belong to a weight that the start takes apart; choose one of the two";
      faults.push({ keys: ["useDora", "initLoraWeights"], text, fix: { useDora: false } });
    }
    if (useDora && startOf(initLoraWeights).fixedB === true)
      faults.push({
        keys: ["useDora", "initLoraWeights"],
        text: "true: the two do not work together",
        fix: { useDora: false },
      });
    if (loraBias && (useDora || typeof initLoraWeights === "string"))
      faults.push({
        keys: ["loraBias", useDora ? "useDora" : "initLoraWeights"],
        text: "true: the two do not work together",
        fix: { loraBias: false },
      });
    if (initLoraWeights === "orthogonal" && r % 2 !== 0)
      faults.push({
        keys: ["r", "initLoraWeights"],
        text: `${r}: an orthogonal start needs an even rank`,
        fix: { r: r + 1 },
      });
    return faults;
  },
  parameterCount({ site }, { r, useDora, loraBias, initLoraWeights }) {
    const trainsB = startOf(initLoraWeights).fixedB === true ? 0 : 1;
    if (site.kind === "embedding")
      return r * (site.vocabularySize + trainsB * site.width) + (useDora ? site.width : 0);
    return r * (site.inFeatures + trainsB * site.outFeatures) + (useDora || loraBias ? site.outFeatures : 0);
  },
  calibration: (config, targets) => startOf(config.initLoraWeights).calibration?.(config, targets),
  companions({ trainableTokenIndices: tokens }) {
    if (tokens === undefined) return [];
    if (Array.isArray(tokens)) return [tokenRows(tokens as readonly number[])];
    return Object.entries(tokens).map(([name, ids]) => tokenRows(ids as readonly number[], [name]));
  },
  attach(site, config, scope) {
    const { r, loraAlpha, loraDropout, useRslora, useDora, loraBias, initLoraWeights } = config;
    const rank = { symbol: "r", size: r };
    const factor = loraAlpha / (useRslora ? Math.sqrt(r) : r);
    const scaling = scope.scalar(factor);
    checkParameterPlaces(scope.place, scope.places, config);
    if (isOwnUpdate(scope.place)) return parameterUpdate(site, config, factor, scope);
    if (site.kind === "embedding") {
      const startA = initLoraWeights === false ? gaussian(1) : nothing;
      const A = scope.param("lora_embedding_A", [rank, site.vocabularySize], startA);
      const { fixedB, embeddingB } = startOf(initLoraWeights);
      const startB = embeddingB?.({ site, r, scope }) ?? gaussian(1);
      const trained = { trained: fixedB !== true };
      const B = scope.param("lora_embedding_B", [site.width, rank], startB, trained);
      if (useDora) return doraEmbedding(site, scope, { A, B, scaling, dropout: 0 });
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
    const { start: startAt, fixedB } = startOf(initLoraWeights);
    const start = startAt({ site, r, scaling: factor, scope, config });
    const A = scope.param("lora_A.weight", [rank, site.inFeatures], start.A);
    const B = scope.param("lora_B.weight", [site.outFeatures, rank], start.B, { trained: fixedB !== true });
    // What quantises the weight puts the result in its place.
    const { weight = site.weight } = start;
    const held = { ...site, weight };
    const standsIn = weight === site.weight ? {} : { standsIn: { weight } };
    if (useDora) return { ...doraLinear(held, scope, { A, B, scaling, dropout: loraDropout }), ...standsIn };
    const bias = loraBias ? scope.param("lora_B.bias", [site.outFeatures], nothing) : undefined;
    const residual =
      start.residual === undefined
        ? undefined
        : keepResidual(scope, { ...config, startSettings }, { A, B }, start.residual);
    return {
      ...standsIn,
      ...(residual === undefined ? { fitTo: (original) => fitPair(held, { A, B }, original, factor) } : {}),
      forward({ f, x, base, p, dropout }) {
        const branch = (rows: Value, a: Value, b: Value): Value =>
          f.matmul(f.mul(f.matmul(rows, a, { transposeB: true }), p(scaling)), b, { transposeB: true });
        let y = f.add(base(x), branch(dropout(x, loraDropout), p(A), p(B)));
        if (residual !== undefined) y = f.sub(y, branch(x, p(residual.A), p(residual.B)));
        return bias === undefined ? y : f.add(y, f.mul(p(bias), p(scaling)));
      },
      merged({ f, own, p }) {
        const product = (a: Parameter, b: Parameter): Value => f.mul(f.matmul(p(b), p(a), {}), p(scaling));
        let weight = f.add(own("weight"), product(A, B));
        if (residual !== undefined) weight = f.sub(weight, product(residual.A, residual.B));
        if (bias === undefined) return { weight };
        if (site.bias === undefined) throw noBias(scope.place.path);
        return { weight, bias: f.add(own("bias"), f.mul(p(bias), p(scaling))) };
      },
    };
  },
});
