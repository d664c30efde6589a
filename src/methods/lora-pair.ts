import { CheckpointError, ConfigError } from "../base/errors.js";
import type { Initialiser } from "../base/fill.js";
import type { Parameter } from "../nn/parameter.js";
import type { EmbeddingSite, LinearSite } from "../nn/site.js";
import type { Calibration, Scope, Target } from "./method.js";

/** Values of A (r, in) and B (out, r), row by row. */
export interface Pair {
  readonly A: Float32Array;
  readonly B: Float32Array;
}

/** What a start has to go by. */
export interface StartContext<V extends StartOptions = StartOptions> {
  readonly site: LinearSite;
  readonly r: number;
  /** s in y = W x + s · B A x. */
  readonly scaling: number;
  readonly scope: Scope;
  /** All options of the adapter. */
  readonly config: V;
}

/** How A and B of a layer start. */
export interface Start {
  readonly A: Initialiser;
  readonly B: Initialiser;
  /** The pair that is taken off the weight, where A and B start as a part of it. */
  readonly residual?: () => Pair;
  /** What stands in for the weight from then on. */
  readonly weight?: Parameter;
}

/** Options that starts look at. */
export interface StartOptions {
  readonly r: number;
  readonly loraAlpha: number;
  readonly initLoraWeights: boolean | string;
}

/** A value of `initLoraWeights`: how A and B of a linear layer start. */
export interface LoraStart<V extends StartOptions = StartOptions> {
  /** The option that holds its settings; absent for starts without settings. */
  readonly settings?: string;
  /** Whether A and B start as a part of the weight, which then goes on without it. */
  readonly takesWeight?: boolean;
  /** Whether the outputs of the model are others from the start. */
  readonly moves?: boolean;
  /** Whether B stays as it starts, and A is trained alone. */
  readonly fixedB?: boolean;
  /** What it has to know about the data. */
  calibration?(config: V, targets: readonly Target<V>[]): Calibration;
  start(this: void, context: StartContext<V>): Start;
  /** How B of an embedding starts, where that is another way than usual. */
  embeddingB?(
    this: void,
    context: { readonly site: EmbeddingSite; readonly r: number; readonly scope: Scope },
  ): Initialiser;
}

/** Both at once from a pair that is computed when first asked for. */
export function pairStart(make: () => Pair, options: { readonly residual: boolean }): Start {
  let made: Pair | undefined;
  const pair = (): Pair => (made ??= make());
  const start: Start = { A: (data) => data.set(pair().A), B: (data) => data.set(pair().B) };
  return options.residual ? { ...start, residual: pair } : start;
}

/** Columns (each one row of A, or one column of B) as row-major arrays, with a factor for each. */
export function toPair(
  left: readonly Float64Array[],
  right: readonly Float64Array[],
  factors: (k: number) => number,
  /** Those of A, where they are others. */
  factorsOfA = factors,
): Pair {
  const r = left.length;
  const [out, width] = [left[0]!.length, right[0]!.length];
  return {
    A: Float32Array.from(
      { length: r * width },
      (_, i) => right[Math.floor(i / width)]![i % width]! * factorsOfA(Math.floor(i / width)),
    ),
    B: Float32Array.from({ length: out * r }, (_, i) => left[i % r]![Math.floor(i / r)]! * factors(i % r)),
  };
}

/** Starts that are a part of the weight need a rank that the weight has, or `share` of it. */
export function checkRank(
  { place: { path } }: Scope,
  shape: readonly [number, number],
  r: number,
  name: string,
  share = 1,
): void {
  const limit = Math.floor(Math.min(...shape) / share);
  if (r <= limit) return;
  const part = share === 1 ? "" : `1/${share} of `;
  throw new ConfigError({
    code: "rank_too_large",
    summary: `r: ${r} is larger than ${part}the smaller side of ${path} (${shape.join(", ")}), which ${name} cannot fill.`,
    fixes: [`r: ${limit}`, `rankPattern: { "${path}": ${limit} }`],
    fields: { path, rank: r, limit },
  });
}

/** Refuses an adapter file whose start cannot be made again from what it holds. */
export function checkKept({ scope, config }: StartContext, dependsOn: string): void {
  if (scope.fresh) return;
  const { initLoraWeights } = config;
  throw new CheckpointError({
    code: "random_start_lost",
    summary: `The adapter starts from ${initLoraWeights}, which depends on ${dependsOn} that its file does not hold.`,
    facts: [["module", scope.place.path]],
    fixes: [
      "save it as an ordinary LoRA in Python: save_pretrained(..., path_initial_model_for_weight_conversion=...)",
    ],
    fields: { path: scope.place.path, initLoraWeights },
  });
}

/** Targets that are linear layers: the others start as they always do. */
export const linearTargets = <V>(targets: readonly Target<V>[]): Target<V>[] =>
  targets.filter(({ place }) => place.site.kind === "linear");
