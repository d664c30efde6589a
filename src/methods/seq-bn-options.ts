import { numberOr, numberOrByName } from "../base/number-options.js";
import {
  choice,
  flag,
  flagOr,
  inFiles,
  integer,
  integers,
  number,
  optionalInteger,
  type OptionValues,
} from "../base/option.js";
import { targetOptions } from "../base/target-options.js";
import type { ConfigFault } from "./method.js";

const NON_LINEARITIES = [
  "relu",
  "gelu",
  "gelu_new",
  "silu",
  "swish",
  "tanh",
  "sigmoid",
  "leakyrelu",
] as const;

export type NonLinearity = (typeof NON_LINEARITIES)[number];

/** What tells bottleneck adapters apart. */
export interface BottleneckDefaults {
  readonly mhAdapter: boolean;
  readonly reductionFactor: number;
  readonly nonLinearity: NonLinearity;
  readonly originalLnBefore?: boolean;
  readonly isParallel?: boolean;
  readonly initWeights?: "mam_adapter";
  readonly scaling?: number | "learned";
  readonly phmLayer?: boolean;
}

/** Options of Kronecker sums, which mean nothing without `phmLayer`. */
const phmOptions = {
  phmDim: integer({ default: 4, min: 1, doc: "Number of Kronecker products in a weight, 1 or more." }),
  sharedPhmRule: flag({ default: true, doc: "Gives all places the same left factors." }),
  factorizedPhmRule: flag({ default: false, doc: "Makes the left factors of rank 1." }),
  learnPhm: flag({ default: true, doc: "Trains the left factors; otherwise they stay as they start." }),
  factorizedPhmW: inFiles(
    flag({ default: true, doc: "Makes the right factors of rank phmRank; otherwise they are whole." }),
    "factorized_phm_W",
  ),
  sharedWPhm: inFiles(
    flag({ default: false, doc: "Gives all places the same right factors." }),
    "shared_W_phm",
  ),
  phmRank: integer({ default: 1, min: 1, doc: "Rank of the right factors, 1 or more." }),
  phmCInit: choice({
    values: ["normal", "uniform"],
    default: "normal",
    doc: "How the left factors start.",
  }),
  phmInitRange: number({
    default: 1e-4,
    min: 0,
    doc: "Standard deviation of shared left factors with phmCInit: normal, 0 or more.",
  }),
  phmBias: flag({ default: true, doc: "Adds trained biases to both projections." }),
};

/** The options of AdapterHub's `BnConfig`, with the defaults of one method. */
export const bottleneckOptions = ({
  mhAdapter,
  reductionFactor,
  nonLinearity,
  originalLnBefore = false,
  isParallel = false,
  initWeights = undefined,
  scaling = 1,
  phmLayer = false,
}: BottleneckDefaults) => ({
  reductionFactor: numberOrByName({
    default: reductionFactor,
    doc: 'Width of the model divided by that of the bottleneck, above 0; or such numbers by layer, as in {"0": 8, "default": 16}.',
  }),
  nonLinearity: choice({
    values: NON_LINEARITIES,
    default: nonLinearity,
    doc: "Activation in the bottleneck.",
  }),
  mhAdapter: flag({ default: mhAdapter, doc: "Adapts what attention adds to the residual stream." }),
  crossAdapter: flag({
    default: false,
    doc: "Adapts what attention over the source adds to the residual stream of a decoder, where there is one.",
  }),
  outputAdapter: flag({
    default: true,
    doc: "Adapts what the feed-forward part adds to the residual stream.",
  }),
  isParallel: flag({
    default: isParallel,
    doc: "Reads the residual stream beside the part of the layer; otherwise what the part gives.",
  }),
  originalLnBefore: flag({
    default: originalLnBefore,
    doc: "Adds the residual stream, and applies the model's own norm where it has one there, before the bottleneck.",
  }),
  originalLnAfter: flag({
    default: true,
    doc: "Adds the residual stream, and applies the model's own norm where it has one there, after the bottleneck.",
  }),
  residualBeforeLn: flagOr({
    values: ["post_add"],
    default: true,
    doc: "What goes around the bottleneck: true the part's own result, post_add the same with the residual stream, false what the bottleneck reads.",
  }),
  lnBefore: flag({ default: false, doc: "Puts a trained norm before the bottleneck." }),
  lnAfter: flag({ default: false, doc: "Puts a trained norm after the bottleneck." }),
  adapterResidualBeforeLn: flag({
    default: false,
    doc: "Adds what goes around the bottleneck before the norm of lnAfter and not after it.",
  }),
  scaling: numberOr({
    values: ["learned", "channel"],
    default: scaling,
    doc: "Factor on the result of the bottleneck: a number, learned (one that is trained, from 1) or channel (one for each channel).",
  }),
  dropout: number({
    default: 0,
    min: 0,
    below: 1,
    doc: "Share of the bottleneck's result dropped in training, 0 to below 1.",
  }),
  leaveOut: integers({ min: 0, doc: "Numbers of the layers that are left alone." }),
  initWeights: choice({
    values: ["bert", "mam_adapter", "houlsby"],
    default: initWeights ?? "bert",
    doc: "How projections start: bert (normal, 0.02), mam_adapter (Kaiming-uniform down, zero up) or houlsby (normal, 0.01, cut at two deviations).",
  }),
  initWeightsSeed: optionalInteger({
    min: 0,
    doc: "A seed of its own, from which the projections of all places start alike.",
  }),
  phmLayer: flag({
    default: phmLayer,
    doc: "Makes the weights of both projections sums of Kronecker products (Compacter).",
  }),
  ...phmOptions,
  ...targetOptions,
});

export type BottleneckOptions = ReturnType<typeof bottleneckOptions>;
export type BottleneckConfig = OptionValues<BottleneckOptions>;

/** What AdapterHub writes for the parts that are not here. */
export const bottleneckInert = {
  hypercomplex_nonlinearity: "glorot-uniform",
  inv_adapter: null,
  inv_adapter_reduction_factor: null,
  stochastic_depth: 0,
  use_gating: false,
};

const notHere = (what: string, instead = ""): string =>
  `${what} is not supported: leave it out, and the adapter works without it${instead}`;

/** Parts of AdapterHub's `BnConfig` that are not here. */
export const bottleneckRefuses = {
  hypercomplexNonlinearity:
    "the right factors start Glorot-normal, as in AdapterHub whatever it says: leave it out",
  invAdapter: notHere("an invertible adapter behind the embedding"),
  invAdapterReductionFactor: notHere("an invertible adapter behind the embedding"),
  stochasticDepth: notHere("dropping whole branches", ", or use dropout"),
  useGating: notHere("a gate on the adapter", ', or use scaling: "learned"'),
};

function parallelFaults(config: BottleneckConfig): ConfigFault[] {
  if (!config.isParallel) return [];
  const off = { originalLnBefore: false, adapterResidualBeforeLn: false, residualBeforeLn: true } as const;
  const text = "a parallel adapter reads the residual stream as it is, and this has no effect";
  return Object.entries(off)
    .filter(([key, value]) => config[key as keyof typeof off] !== value)
    .map(([key, value]) => ({ keys: [key, "isParallel"], text, fix: { [key]: value } }));
}

function phmFaults(config: BottleneckConfig): ConfigFault[] {
  const values = config as Readonly<Record<string, unknown>>;
  if (!config.phmLayer) {
    const text = "it has no effect without Kronecker products";
    return Object.entries(phmOptions)
      .filter(([key, option]) => values[key] !== option.default)
      .map(([key]) => ({ keys: [key, "phmLayer"], text, fix: { phmLayer: true } }));
  }
  const faults: ConfigFault[] = [];
  if (config.initWeights !== "bert")
    faults.push({
      keys: ["initWeights", "phmLayer"],
      text: "Kronecker factors have a start of their own (phmCInit)",
      fix: { initWeights: "bert" },
    });
  if (config.sharedWPhm && !config.factorizedPhmW)
    faults.push({
      keys: ["sharedWPhm", "factorizedPhmW"],
      text: "AdapterHub shares right factors only where they are factorised",
      fix: { factorizedPhmW: true },
    });
  if (config.sharedWPhm && typeof config.reductionFactor !== "number")
    faults.push({
      keys: ["sharedWPhm", "reductionFactor"],
      text: "right factors that all places share have one size, and so has the bottleneck",
      fix: { reductionFactor: 32 },
    });
  return faults;
}

/** Options of a bottleneck adapter that do not go together. */
export function bottleneckFaults(config: BottleneckConfig): ConfigFault[] {
  const faults = [...parallelFaults(config), ...phmFaults(config)];
  if (!config.mhAdapter && !config.crossAdapter && !config.outputAdapter)
    faults.push({
      keys: ["mhAdapter", "outputAdapter"],
      text: "nothing would be adapted",
      fix: { outputAdapter: true },
    });
  if (!config.isParallel && config.residualBeforeLn === "post_add" && !config.originalLnBefore)
    faults.push({
      keys: ["residualBeforeLn", "originalLnBefore"],
      text: "post_add means the sum that originalLnBefore makes",
      fix: { originalLnBefore: true },
    });
  return faults;
}
