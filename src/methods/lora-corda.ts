import { ConfigError } from "../base/errors.js";
import { choice, groupValues, optionGroup, type OptionValues } from "../base/option.js";
import { cholesky, damped, solveCholesky } from "../base/cholesky.js";
import { smallestSvd } from "../base/smallest-svd.js";
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
import type { Calibration, CalibrationResult, InputRows, Place } from "./method.js";

/** Settings of the start from the covariance of the inputs. */
const cordaOptions = {
  cordaMethod: choice({
    values: ["ipm", "kpm"],
    default: "ipm",
    doc: "ipm adapts what matters most for the data; kpm what matters least, and keeps what the model knows of them.",
  }),
};

/** The option that has them. */
export const cordaConfig = optionGroup({
  options: cordaOptions,
  doc: "Settings of initLoraWeights: corda (cordaMethod: ipm or kpm).",
  // Files of intermediate results, and how Python computes them.
  inert: {
    cache_file: null,
    covariance_file: null,
    verbose: false,
    use_float16_for_covariance: false,
    prune_temporary_fields: true,
  },
});

interface CordaConfig extends StartOptions {
  readonly cordaConfig?: Partial<OptionValues<typeof cordaOptions>> | undefined;
}

/** Σ xᵀ x over rows of the batch, each divided by its largest entry: (in, in). */
interface Covariance {
  readonly width: number;
  readonly sum: Float64Array;
  rows: number;
}

class CordaCalibration implements Calibration {
  readonly reason = "initLoraWeights: corda";
  /** One for all places that read the same rows, by the path of the first. */
  readonly #sums = new Map<string, Covariance>();
  readonly #found = new Map<string, Covariance>();

  constructor(readonly places: readonly Place[]) {}

  inputs(places: readonly Place[], { data, width, rowOffsets }: InputRows): void {
    const key = places[0]!.path;
    const known = this.#sums.get(key) ?? { width, sum: new Float64Array(width * width), rows: 0 };
    this.#sums.set(key, known);
    for (const { path } of places) this.#found.set(path, known);
    for (let row = 0; row + 1 < rowOffsets.length; row += 1) {
      addRow(known, data.subarray(rowOffsets[row]! * width, rowOffsets[row + 1]! * width), key);
    }
  }

  finish(): CalibrationResult {
    for (const { sum, rows } of this.#sums.values()) for (let i = 0; i < sum.length; i += 1) sum[i]! /= rows;
    return { found: this.#found };
  }
}

/** Adds xᵀ x of the tokens x of one row, scaled so that their largest entry is 1. */
function addRow(covariance: Covariance, x: Float32Array, path: string): void {
  const { width, sum } = covariance;
  const largest = Math.abs(x.reduce((most, value) => Math.max(most, value), -Infinity));
  if (!(largest > 0 && largest < Infinity)) {
    throw new ConfigError({
      code: "calibration_values",
      summary: `initLoraWeights: corda cannot scale the inputs of ${path}: the largest of a row is ${largest}.`,
      fixes: ["other rows in calibration", `excludeModules: ["${path}"]`],
      fields: { path, largest },
    });
  }
  const scale = 1 / (largest * largest);
  for (let at = 0; at < x.length; at += width) {
    for (let i = 0; i < width; i += 1) {
      const factor = x[at + i]! * scale;
      for (let j = 0; j <= i; j += 1) {
        const value = factor * x[at + j]!;
        sum[i * width + j]! += value;
        if (i !== j) sum[j * width + i]! += value;
      }
    }
  }
  covariance.rows += 1;
}

/** The covariance with as much on its diagonal as makes it invertible, and its factor. */
function invertible(sum: Float64Array, width: number): { matrix: Float64Array; L: Float64Array } {
  for (let share = 0.01; ; share *= 2) {
    const matrix = damped(sum, width, share);
    const L = cholesky(matrix, width);
    if (L !== undefined) return { matrix, L };
  }
}

/** W C for W (m, n) and a symmetric C (n, n): (m, n). */
function product(W: Float32Array, C: Float64Array, m: number, n: number): Float32Array {
  const result = new Float32Array(m * n);
  for (let i = 0; i < m; i += 1) {
    const row = W.subarray(i * n, i * n + n);
    for (let j = 0; j < n; j += 1) {
      let sum = 0;
      for (let k = 0; k < n; k += 1) sum += row[k]! * C[j * n + k]!;
      result[i * n + j] = sum;
    }
  }
  return result;
}

/** The singular vectors of W C, with C taken off the right ones again: U S (Vᵀ C⁻¹), shared out evenly. */
function cordaPair({ site, r, scaling, scope }: StartContext, method: "ipm" | "kpm"): Pair {
  const { sum, width } = scope.calibrated<Covariance>()!;
  const { outFeatures } = site;
  const { matrix, L } = invertible(sum, width);
  const weighted = product(weightData(site), matrix, outFeatures, width);
  const svd = method === "ipm" ? truncatedSvd : smallestSvd;
  const { U, S, V } = svd(weighted, outFeatures, width, r);
  const right = V.map((v) => solveCholesky(L, width, v.slice()));
  return toPair(U, right, (k) => Math.sqrt(S[k]! / scaling));
}

/**
 * A and B are the part of W that matters most (`ipm`) or least (`kpm`) for inputs like those of the calibration batches; the weight
 * goes on without it.
 *
 * @see Yang, Li, Zhou, Song, Yu, Nie, Ghanem and Bernard, "CorDA: Context-Oriented Decomposition Adaptation of Large Language Models",
 * arXiv:2406.05223
 */
export const corda: LoraStart<CordaConfig> = {
  settings: "cordaConfig",
  takesWeight: true,
  calibration: (_config, targets) => new CordaCalibration(linearTargets(targets).map(({ place }) => place)),
  start(context) {
    const { site, r, scope } = context;
    checkRank(scope, [site.outFeatures, site.inFeatures], r, "corda");
    checkKept(context, "data");
    const { cordaMethod } = groupValues(cordaOptions, context.config.cordaConfig);
    return pairStart(() => cordaPair(context, cordaMethod), { residual: true });
  },
};
