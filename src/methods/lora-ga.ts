import { choice, groupValues, number, optionGroup, type OptionValues } from "../base/option.js";
import { Random } from "../base/random.js";
import { truncatedSvd } from "../base/svd.js";
import { weightData } from "../nn/site.js";
import {
  checkKept,
  checkRank,
  linearTargets,
  type LoraStart,
  type Pair,
  pairStart,
  type StartContext,
  type StartOptions,
  toPair,
} from "./lora-pair.js";
import type { Calibration } from "./method.js";

/** Settings of the start from gradients. */
const gaOptions = {
  direction: choice({
    values: ["ArBr", "A2rBr", "ArB2r", "random"],
    default: "ArB2r",
    doc: "Which of the 2 r leading directions of the gradient go to A and which to B.",
  }),
  scale: choice({
    values: ["stable", "weight_svd", "gd_scale", "unit"],
    default: "stable",
    doc: "How A and B are scaled.",
  }),
  stableGamma: number({ default: 16, above: 0, doc: "γ of scale: stable, ⁴√out / √γ." }),
};

/** The option that has them. */
export const loraGaConfig = optionGroup({
  options: gaOptions,
  doc: "Settings of initLoraWeights: lora_ga (direction, scale, stableGamma).",
});

type GaOptions = OptionValues<typeof gaOptions>;

interface GaConfig extends StartOptions {
  readonly loraGaConfig?: Partial<GaOptions> | undefined;
}

/** Indices of the 2 r leading directions that A and B take. */
function chosen(
  direction: GaOptions["direction"],
  r: number,
  seed: number,
): [forA: number[], forB: number[]] {
  const range = (from: number, step = 1): number[] => Array.from({ length: r }, (_, k) => from + step * k);
  if (direction === "ArBr") return [range(1, 2), range(0, 2)];
  if (direction === "A2rBr") return [range(r), range(0)];
  if (direction === "ArB2r") return [range(0), range(r)];
  const some = new Random(seed).shuffle([...range(0), ...range(r)]).slice(0, r);
  return [some, some];
}

function gaPair({ site, r, scaling, scope }: StartContext, options: GaOptions): Pair {
  const { direction, scale, stableGamma } = options;
  const { outFeatures: out, inFeatures: width } = site;
  const { U, S, V } = truncatedSvd(scope.calibrated<Float32Array>()!, out, width, 2 * r);
  const [forA, forB] = chosen(direction, r, scope.seed);
  const [left, right] = [forB.map((k) => U[k]!), forA.map((k) => V[k]!)];
  const first = S[forB[0]!]!;
  const factors = {
    stable: () => out ** 0.25 / Math.sqrt(stableGamma),
    weight_svd: () => (first > 0 ? truncatedSvd(weightData(site), out, width, 1).S[0]! / first : 1),
    gd_scale: () => 1 / scaling,
    unit: () => 1,
  };
  const [factor, factorOfA] = [factors[scale](), scale === "gd_scale" ? 1 / scaling : 1];
  return toPair(
    left,
    right,
    (k) => S[forB[k]!]! * factor,
    () => factorOfA,
  );
}

/**
 * A and B are leading directions of the gradient of W over the calibration batches, so that the first steps go where those of full
 * fine-tuning would; the weight goes on without s · B A.
 *
 * @see Wang, Yu and Li, "LoRA-GA: Low-Rank Adaptation with Gradient Approximation", arXiv:2407.05000
 */
export const loraGa: LoraStart<GaConfig> = {
  settings: "loraGaConfig",
  takesWeight: true,
  calibration(_config, targets): Calibration {
    const found = new Map<string, Float32Array>();
    return {
      reason: "initLoraWeights: lora_ga",
      places: linearTargets(targets).map(({ place }) => place),
      gradient: ({ path }, gradient) => void found.set(path, gradient),
      finish: () => ({ found }),
    };
  },
  start(context) {
    const { site, r, scope } = context;
    checkRank(scope, [site.outFeatures, site.inFeatures], r, "lora_ga", 2);
    checkKept(context, "data");
    const options = groupValues(gaOptions, context.config.loraGaConfig);
    return pairStart(() => gaPair(context, options), { residual: true });
  },
};
