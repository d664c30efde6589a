import { ConfigError, CheckpointError } from "../base/errors.js";
import { gaussian, type Initialiser, kaiming, nothing } from "../base/fill.js";
import { Random } from "../base/random.js";
import { leadingQr, orthonormalise, truncatedSvd } from "../base/svd.js";
import { type LinearSite, weightData } from "../nn/site.js";
import type { Scope } from "./method.js";

/** Values of A (r, in) and B (out, r), row by row. */
interface Pair {
  readonly A: Float32Array;
  readonly B: Float32Array;
}

/** What a start has to go by. */
export interface StartContext {
  readonly site: LinearSite;
  readonly r: number;
  /** s in y = W x + s · B A x. */
  readonly scaling: number;
  readonly scope: Scope;
  /** N of `pissa_niter_N`. */
  readonly iterations?: number | undefined;
}

/** How A and B start. */
export interface Start {
  readonly A: Initialiser;
  readonly B: Initialiser;
  /** The pair that is taken off the weight, where A and B start as a part of it. */
  readonly residual?: () => Pair;
}

/** Both at once from a pair that is computed when first asked for. */
function pairStart(make: () => Pair, options: { readonly residual: boolean }): Start {
  let made: Pair | undefined;
  const pair = (): Pair => (made ??= make());
  const start: Start = { A: (data) => data.set(pair().A), B: (data) => data.set(pair().B) };
  return options.residual ? { ...start, residual: pair } : start;
}

/** Columns (each one row of A, or one column of B) as row-major arrays, with a factor for each. */
function toPair(
  left: readonly Float64Array[],
  right: readonly Float64Array[],
  factors: (k: number) => number,
): Pair {
  const r = left.length;
  const [out, width] = [left[0]!.length, right[0]!.length];
  return {
    A: Float32Array.from(
      { length: r * width },
      (_, i) => right[Math.floor(i / width)]![i % width]! * factors(Math.floor(i / width)),
    ),
    B: Float32Array.from({ length: out * r }, (_, i) => left[i % r]![Math.floor(i / r)]! * factors(i % r)),
  };
}

/** Starts that take a part of the weight need a rank that the weight has. */
function checkRank({ site, r, scope }: StartContext, name: string): void {
  const limit = Math.min(site.inFeatures, site.outFeatures);
  if (r <= limit) return;
  throw new ConfigError({
    code: "rank_too_large",
    summary: `r: ${r} is larger than the smaller side of ${scope.place.path} (${site.outFeatures}, ${site.inFeatures}), which ${name} cannot fill.`,
    fixes: [`r: ${limit}`, `rankPattern: { "${scope.place.path}": ${limit} }`],
    fields: { path: scope.place.path, rank: r, limit },
  });
}

/** The largest singular values and vectors of W, shared out evenly: s · B A is the nearest matrix of rank r. */
function pissa(context: StartContext): Start {
  const { site, r, scaling, scope, iterations } = context;
  checkRank(context, "pissa");
  if (iterations !== undefined && !scope.fresh) {
    throw new CheckpointError({
      code: "random_start_lost",
      summary: `The adapter starts from pissa_niter_${iterations}, which depends on random numbers that its file does not hold.`,
      facts: [["module", scope.place.path]],
      fixes: [
        "save it as an ordinary LoRA in Python: save_pretrained(..., path_initial_model_for_weight_conversion=...)",
      ],
      fields: { path: scope.place.path, iterations },
    });
  }
  return pairStart(
    () => {
      const options = iterations === undefined ? {} : { iterations, seed: scope.seed };
      const { U, S, V } = truncatedSvd(weightData(site), site.outFeatures, site.inFeatures, r, options);
      return toPair(U, V, (k) => Math.sqrt(S[k]! / scaling));
    },
    { residual: true },
  );
}

/** The first r columns of Q and rows of R of W = Q R. */
function olora(context: StartContext): Start {
  const { site, r } = context;
  checkRank(context, "olora");
  return pairStart(
    () => {
      const { Q, R } = leadingQr(weightData(site), site.outFeatures, site.inFeatures, r);
      return toPair(Q, R, () => 1);
    },
    { residual: true },
  );
}

/** Rows of A from the odd and columns of B from the even rows of one random rotation, so that B A = 0 while neither is. */
function orthogonal({ site, r, scope }: StartContext): Start {
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
        A: Float32Array.from({ length: r * a.length }, (_, i) => a[i % a.length]![Math.floor(i / a.length)]!),
        B: Float32Array.from({ length: b.length * r }, (_, i) => b[Math.floor(i / r)]![i % r]!),
      };
    },
    { residual: false },
  );
}

/** How A and B of a linear layer start, by the value of `initLoraWeights`. */
const starts = {
  true: ({ site }: StartContext): Start => ({ A: kaiming(site.inFeatures), B: nothing }),
  false: ({ site, r }: StartContext): Start => ({ A: kaiming(site.inFeatures), B: kaiming(r) }),
  gaussian: ({ r }: StartContext): Start => ({ A: gaussian(1 / r), B: nothing }),
  orthogonal,
  pissa,
  olora,
};

/** Words that `initLoraWeights` takes beside true and false. */
export const startNames = ["gaussian", "orthogonal", "pissa", "olora"] as const;

/** `pissa_niter_N`: N rough iterations instead of the whole decomposition. */
export const PISSA_ITERATIONS = /^pissa_niter_(\d+)$/;

/** Whether A and B start as a part of the weight, which then goes on without it. */
export const takesWeight = (value: boolean | string): boolean => /^(pissa|olora)/.test(String(value));

/** How A and B of a linear layer start. */
export function startOf(value: boolean | string, context: StartContext): Start {
  const iterations = PISSA_ITERATIONS.exec(String(value))?.[1];
  if (iterations !== undefined) return pissa({ ...context, iterations: Number(iterations) });
  return starts[String(value) as keyof typeof starts](context);
}
