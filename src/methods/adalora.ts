import { gaussian, nothing } from "../base/fill.js";
import { type HostTensor, hostTensor } from "../base/host-tensor.js";
import { flag, inFiles, integer, masksByName, number, optionalInteger } from "../base/option.js";
import { targetOptions, biasOption } from "../base/target-options.js";
import type { Value } from "../graph/value.js";
import type { PenaltyContext } from "../nn/site.js";
import type { Parameter } from "../nn/parameter.js";
import { RankAllocator } from "./adalora-allocator.js";
import { type ConfigFault, defineMethod } from "./method.js";

/** ‖P Pᵀ − I‖, or ‖Pᵀ P − I‖. */
function deviation({ f, p }: PenaltyContext, parameter: Parameter, r: number, transposed: boolean): Value {
  const P = p(parameter);
  const eye = Array.from({ length: r * r }, (_, i) => (i % (r + 1) === 0 ? 1 : 0));
  const gram = f.matmul(P, P, transposed ? { transposeA: true } : { transposeB: true });
  const off = f.reshape(f.sub(gram, f.constant({ shape: [r, r], value: eye })), { shape: [1, r * r] });
  return f.reshape(f.sqrt(f.sumSquare(off)), { shape: [] });
}

/** The rows of a (r, …) tensor, or the columns of a (…, r) one, that a mask keeps. */
function kept(parameter: Parameter, mask: readonly boolean[] | undefined, axis: 0 | 1): HostTensor {
  const { data, shape } = parameter;
  if (mask === undefined) return hostTensor("float32", shape, data);
  const r = mask.length;
  const width = shape[1]!;
  const at = (i: number): number => (axis === 0 ? Math.floor(i / width) : i % r);
  const chosen = data.filter((_, i) => mask[at(i)]);
  const left = mask.filter(Boolean).length;
  return hostTensor("float32", axis === 0 ? [left, width] : [shape[0]!, left], chosen);
}

/**
 * LoRA as a singular value decomposition whose rank moves between layers while it trains.
 *
 * y = W x + α / r · B (E ⊙ A) dropout(x), with `orthRegWeight` · mean(‖A Aᵀ − I‖ + ‖Bᵀ B − I‖) on the loss
 *
 * Shapes: x (N, in) → (N, out); A (r, in); E (r, 1); B (out, r); r = `initR`.
 * E starts at zero, so the layer is unchanged before the first step. Adds r · (in + out + 1) parameters to a layer. From step `tinit`
 * to `totalStep` − `tfinal` the worst singular values of the whole model are set to zero, until `targetR` a layer are left on average;
 * the file then holds only these, and `rankPattern` tells which they were.
 *
 * @example
 * const model = await getPeftModel(base, { peftType: "ADALORA", initR: 12, targetR: 8, tinit: 50, tfinal: 100, deltaT: 10 });
 * @see Zhang et al., "Adaptive Budget Allocation for Parameter-Efficient Fine-Tuning", arXiv:2303.10512, eq. 3-9
 */
export const adalora = defineMethod({
  name: "ADALORA",
  title: "AdaLoRA",
  paper: "arXiv:2303.10512",
  formula: "y = W x + (α / r) · B (E ⊙ A) x, + orthRegWeight · mean(‖A Aᵀ − I‖ + ‖Bᵀ B − I‖) on the loss",
  parameters: "initR · (in + out + 1)",
  advice:
    "Where the best rank differs between layers and a run is long enough to find out: a thousand steps or more.",
  sites: ["linear"],
  quantisedBase: true,
  modelDefaults: { targetModules: ["ADALORA", "LORA"] },
  config: {
    targetR: integer({ default: 8, min: 1, doc: "Mean rank of a layer at the end, 1 or more." }),
    initR: integer({ default: 12, min: 1, doc: "Rank of every layer at the start, 1 or more." }),
    tinit: integer({ default: 0, min: 0, doc: "Steps before ranks begin to fall, 0 or more." }),
    tfinal: integer({ default: 0, min: 0, doc: "Last steps, with the ranks as they are, 0 or more." }),
    deltaT: inFiles(
      integer({ default: 1, min: 1, doc: "Steps between two allocations, 1 or more." }),
      "deltaT",
    ),
    beta1: number({
      default: 0.85,
      above: 0,
      below: 1,
      doc: "Smoothing of the importance, between 0 and 1.",
    }),
    beta2: number({
      default: 0.85,
      above: 0,
      below: 1,
      doc: "Smoothing of its uncertainty, between 0 and 1.",
    }),
    orthRegWeight: number({ default: 0.5, min: 0, doc: "Weight of the orthogonality penalty, 0 or more." }),
    totalStep: optionalInteger({
      min: 1,
      doc: "Steps of the whole run, 1 or more; what the trainer runs where it is left out.",
    }),
    loraAlpha: number({ default: 8, above: 0, doc: "Numerator of the scale α / initR; above 0." }),
    loraDropout: number({
      default: 0,
      min: 0,
      below: 1,
      doc: "Share of the branch's input dropped in training, 0 to below 1.",
    }),
    initLoraWeights: flag({ default: true, doc: "Starts E at zero; otherwise all at random, for tests." }),
    rankPattern: masksByName({
      doc: "Which singular values of each layer are in use; written when it is saved.",
    }),
    bias: biasOption("lora_only"),
    ...targetOptions,
  },
  inert: {
    alora_invocation_tokens: null,
    alpha_pattern: {},
    arrow_config: null,
    corda_config: null,
    ensure_weight_tying: false,
    eva_config: null,
    fan_in_fan_out: false,
    kasa_config: null,
    layer_replication: null,
    layers_pattern: null,
    layers_to_transform: null,
    loftq_config: {},
    lora_bias: false,
    lora_ga_config: null,
    megatron_config: null,
    megatron_core: "megatron.core",
    monteclora_config: null,
    qalora_group_size: 16,
    r: 8,
    target_parameters: null,
    trainable_token_indices: null,
    use_bdlora: null,
    use_dora: false,
    use_qalora: false,
    use_rslora: false,
    velora_config: null,
  },
  identityStart: ({ initLoraWeights }) => initLoraWeights,
  mergeable: () => true,
  check({ tinit, tfinal, totalStep, initR, targetR }) {
    const faults: ConfigFault[] = [];
    if (totalStep !== undefined && tinit >= totalStep - tfinal) {
      faults.push({
        keys: ["tinit", "tfinal", "totalStep"],
        text: `${tinit}, ${tfinal} and ${totalStep} leave no step for moving ranks; tinit + tfinal has to be below totalStep`,
        fix: { totalStep: tinit + tfinal + 1 },
      });
    }
    if (targetR > initR)
      faults.push({
        keys: ["targetR", "initR"],
        text: `${targetR} and ${initR}: ranks only fall, so initR has to be the larger`,
        fix: { initR: targetR },
      });
    return faults;
  },
  parameterCount: ({ site }, { initR }) => initR * (site.inFeatures + site.outFeatures + 1),
  attach(site, config, scope) {
    const { inFeatures, outFeatures } = site;
    const { initR, loraAlpha, loraDropout, orthRegWeight, initLoraWeights } = config;
    const { path } = scope.place;
    const loaded = config.rankPattern?.[`${path}.lora_E`];
    const r = loaded === undefined ? initR : loaded.filter(Boolean).length;
    const start = gaussian(initLoraWeights ? 0.02 : 1);
    const A = scope.param("lora_A", [r, inFeatures], start);
    const E = scope.param("lora_E", [r, 1], initLoraWeights ? nothing : start);
    const B = scope.param("lora_B", [outFeatures, r], start);
    const scaling = scope.scalar(loraAlpha / (initR + 1e-5));
    const allocator = scope.once("allocator", () => {
      const one = new RankAllocator(config);
      scope.afterStep((facts) => one.afterStep(facts));
      const masks = (): [string, readonly boolean[]][] =>
        [...(one.masks ?? [])].map(([at, mask]) => [`${at}.lora_E`, mask]);
      scope.savedOption("rankPattern", () =>
        one.masks === undefined ? config.rankPattern : Object.fromEntries(masks()),
      );
      scope.savedOption("totalStep", () => one.totalStep ?? 1);
      return one;
    });
    allocator.add({ path, A, E, B });
    for (const [parameter, axis] of [
      [A, 0],
      [E, 0],
      [B, 1],
    ] as const)
      scope.savedTensor(parameter, () => kept(parameter, allocator.masks?.get(path), axis));
    if (r === 0) return {};
    return {
      forward({ f, x, base, p, dropout }) {
        const inner = f.matmul(dropout(x, loraDropout), f.mul(p(A), p(E)), { transposeB: true }); // (N, r)
        return f.add(base(x), f.matmul(f.mul(inner, p(scaling)), p(B), { transposeB: true }));
      },
      merged: ({ f, own, p }) => ({
        weight: f.add(own("weight"), f.mul(f.matmul(p(B), f.mul(p(A), p(E)), {}), p(scaling))),
      }),
      penalty(context) {
        const sum = context.f.add(deviation(context, A, r, false), deviation(context, B, r, true));
        return context.f.scale(sum, { by: orthRegWeight / (2 * scope.places.length) });
      },
    };
  },
});
