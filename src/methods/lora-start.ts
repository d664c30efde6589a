import { ConfigError } from "../base/errors.js";
import { gaussian, kaiming, nothing } from "../base/fill.js";
import { Random } from "../base/random.js";
import { leadingQr, orthonormalise, truncatedSvd } from "../base/svd.js";
import { weightData } from "../nn/site.js";
import { corda, cordaConfig } from "./lora-corda.js";
import { eva, evaConfig } from "./lora-eva.js";
import { loraGa, loraGaConfig } from "./lora-ga.js";
import { loftq, loftqConfig } from "./lora-loftq.js";
import { mica } from "./lora-mica.js";
import { checkKept, checkRank, type LoraStart, pairStart, type StartContext, toPair } from "./lora-pair.js";

/** The largest singular values and vectors of W, shared out evenly: s · B A is the nearest matrix of rank r. */
const pissa: LoraStart = {
  takesWeight: true,
  start(context) {
    const { site, r, scaling, scope, config } = context;
    const iterations = PISSA_ITERATIONS.exec(String(config.initLoraWeights))?.[1];
    checkRank(scope, [site.outFeatures, site.inFeatures], r, "pissa");
    if (iterations !== undefined) checkKept(context, "random numbers");
    return pairStart(
      () => {
        const options = iterations === undefined ? {} : { iterations: Number(iterations), seed: scope.seed };
        const { U, S, V } = truncatedSvd(weightData(site), site.outFeatures, site.inFeatures, r, options);
        return toPair(U, V, (k) => Math.sqrt(S[k]! / scaling));
      },
      { residual: true },
    );
  },
};

/** The first r columns of Q and rows of R of W = Q R. */
const olora: LoraStart = {
  takesWeight: true,
  start(context) {
    const { site, r, scope } = context;
    checkRank(scope, [site.outFeatures, site.inFeatures], r, "olora");
    return pairStart(
      () => {
        const { Q, R } = leadingQr(weightData(site), site.outFeatures, site.inFeatures, r);
        return toPair(Q, R, () => 1);
      },
      { residual: true },
    );
  },
};

/** Rows of A from the odd and columns of B from the even rows of one random rotation, so that B A = 0 while neither is. */
const orthogonal: LoraStart = {
  start({ site, r, scope }: StartContext) {
    if (r % 2 !== 0) {
      throw new ConfigError({
        code: "rank_odd",
        summary: `initLoraWeights: orthogonal needs an even rank, and ${scope.place.path} has r: ${r}.`,
        fixes: [`r: ${r + 1}`],
        fields: { path: scope.place.path, rank: r },
      });
    }
    return pairStart(
      () => {
        const random = new Random(scope.seed);
        const normal = (): number => random.normal();
        const rotation = Array.from({ length: r }, () => Float64Array.from({ length: r }, normal));
        orthonormalise(rotation);
        const mix = (size: number, first: number): Float64Array[] =>
          Array.from({ length: size }, () => {
            const row = new Float64Array(r);
            for (let k = 0; k < r / 2; k += 1) {
              const factor = normal() / 10;
              const from = rotation[2 * k + first]!;
              for (let i = 0; i < r; i += 1) row[i]! += factor * from[i]!;
            }
            return row;
          });
        const [a, b] = [mix(site.inFeatures, 0), mix(site.outFeatures, 1)]; // (in, r), (out, r)
        return {
          A: Float32Array.from(
            { length: r * a.length },
            (_, i) => a[i % a.length]![Math.floor(i / a.length)]!,
          ),
          B: Float32Array.from({ length: b.length * r }, (_, i) => b[Math.floor(i / r)]![i % r]!),
        };
      },
      { residual: false },
    );
  },
};

/** How A and B of a linear layer start, by the value of `initLoraWeights`. */
const starts = {
  true: { start: ({ site }) => ({ A: kaiming(site.inFeatures), B: nothing }) } as LoraStart,
  false: {
    moves: true,
    start: ({ site, r }) => ({ A: kaiming(site.inFeatures), B: kaiming(r) }),
  } as LoraStart,
  gaussian: { start: ({ r }) => ({ A: gaussian(1 / r), B: nothing }) } as LoraStart,
  orthogonal,
  pissa,
  olora,
  eva: eva as LoraStart,
  corda: corda as LoraStart,
  lora_ga: loraGa as LoraStart,
  mica,
  loftq: loftq as LoraStart,
};

/** Options that are settings of one start. */
export const startOptions = { evaConfig, cordaConfig, loraGaConfig, loftqConfig };

/** Starts that have settings, by the option that holds them. */
export const startsBySettings: ReadonlyMap<string, string> = new Map(
  Object.entries(starts).flatMap(([name, { settings }]) =>
    settings === undefined ? [] : [[settings, name]],
  ),
);

/** Words that `initLoraWeights` takes beside true and false. */
export const startNames = Object.keys(starts).filter((name) => !/^(true|false)$/.test(name)) as Exclude<
  keyof typeof starts,
  "true" | "false"
>[];

/** `pissa_niter_N`: N rough iterations instead of the whole decomposition. */
export const PISSA_ITERATIONS = /^pissa_niter_(\d+)$/;

/** How A and B of a linear layer start, by the value of `initLoraWeights`. */
export const startOf = (value: boolean | string): LoraStart =>
  PISSA_ITERATIONS.test(String(value)) ? pissa : starts[String(value) as keyof typeof starts];
