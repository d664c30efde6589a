import { ConfigError } from "../base/errors.js";
import { nothing } from "../base/fill.js";
import { IncrementalPca } from "../base/incremental-pca.js";
import { flag, groupValues, integer, number, optionGroup, type OptionValues } from "../base/option.js";
import { linearTargets, type LoraStart, type StartOptions } from "./lora-pair.js";
import type { Calibration, CalibrationResult, InputRows, Place, Target } from "./method.js";

/** Settings of the start from directions of the inputs. */
const evaOptions = {
  rho: number({
    default: 2,
    min: 1,
    doc: "A layer gets at most this many times its rank when ranks are dealt out anew; 1 leaves them.",
  }),
  tau: number({
    default: 0.99,
    min: 0,
    max: 1,
    doc: "A direction stands still once its cosine with what it was a batch ago reaches this.",
  }),
  useLabelMask: flag({ default: true, doc: "Leaves out tokens whose label is labelMaskValue." }),
  labelMaskValue: integer({ default: -100, doc: "The label of tokens that are left out." }),
  whiten: flag({ default: false, doc: "Divides directions by the roots of their singular values." }),
  adjustScalingFactors: flag({
    default: true,
    doc: "Changes alpha with the rank, so that α / r stays what it was.",
  }),
};

/** The option that has them. */
export const evaConfig = optionGroup({
  options: evaOptions,
  doc: "Settings of initLoraWeights: eva (rho, tau, useLabelMask, labelMaskValue, whiten, adjustScalingFactors).",
});

interface EvaConfig extends StartOptions {
  readonly evaConfig?: Partial<OptionValues<typeof evaOptions>> | undefined;
}

type EvaTarget = Target<EvaConfig>;

/** Rounds through all batches after which directions that still move are taken as they are. */
const MAX_ROUNDS = 100;

/** Halves go to the even number, as Python rounds. */
const roundHalfEven = (value: number): number =>
  Math.abs(value % 1) === 0.5 ? 2 * Math.round(value / 2) : Math.round(value);

const cosine = (a: Float64Array, b: Float64Array): number => {
  let [ab, aa, bb] = [0, 0, 0];
  for (let i = 0; i < a.length; i += 1) {
    ab += a[i]! * b[i]!;
    aa += a[i]! * a[i]!;
    bb += b[i]! * b[i]!;
  }
  return ab / Math.sqrt(aa * bb);
};

/** Layers that read the same rows: one decomposition serves them all. */
interface Group {
  readonly targets: readonly EvaTarget[];
  readonly pca: IncrementalPca;
  /** Which directions stand still. */
  still: boolean[];
  /** Rows of batches that had too few to be taken, and tokens that were seen in all. */
  pending: { rows: Float32Array; count: number };
  tokens: number;
  /** Whether those that are needed did when it was last looked at; no batch is taken then. */
  settled: boolean;
}

/** The rows of tokens that count. */
function countedRows(
  { data, width, labels }: InputRows,
  { useLabelMask, labelMaskValue }: OptionValues<typeof evaOptions>,
): { rows: Float32Array; count: number } {
  if (!useLabelMask || labels === undefined) return { rows: data, count: data.length / width };
  const kept = [...labels.keys()].filter((i) => labels[i] !== labelMaskValue);
  const rows = new Float32Array(kept.length * width);
  for (const [to, i] of kept.entries()) rows.set(data.subarray(i * width, (i + 1) * width), to * width);
  return { rows, count: kept.length };
}

/** Two parts in one array; a copy where there is anything in the first. */
function joined(a: Float32Array, b: Float32Array): Float32Array {
  const both = new Float32Array(a.length + b.length);
  both.set(a);
  both.set(b, a.length);
  return both;
}

class EvaCalibration implements Calibration {
  readonly reason = "initLoraWeights: eva";
  readonly #settings: OptionValues<typeof evaOptions>;
  readonly #byPath: ReadonlyMap<string, EvaTarget>;
  readonly #groups = new Map<string, Group>();
  /** Ranks by path, once every group has seen rows. */
  #ranks: Map<string, number> | undefined;
  #rounds = 0;
  readonly #general: EvaConfig;

  constructor(config: EvaConfig, targets: readonly EvaTarget[]) {
    this.#general = config;
    this.#settings = groupValues(evaOptions, config.evaConfig);
    this.#byPath = new Map(targets.map((target) => [target.place.path, target]));
  }

  get places(): readonly Place[] {
    return [...this.#byPath.values()].map(({ place }) => place);
  }

  /** The group of these places, made when they are first seen. */
  #group(places: readonly Place[], width: number): Group {
    const known = this.#groups.get(places[0]!.path);
    if (known !== undefined) return known;
    const targets = places.map(({ path }) => this.#byPath.get(path)!);
    const { rho } = this.#settings;
    const largest = targets.reduce((a, b) => (b.config.r > a.config.r ? b : a));
    const count = Math.max(1, roundHalfEven(largest.config.r * rho));
    if (count > width) {
      const { path } = largest.place;
      throw new ConfigError({
        code: "rank_too_large",
        summary: `r · rho: ${largest.config.r} · ${rho} = ${count} is more than the ${width} inputs of ${path}, so eva cannot find as many directions.`,
        fixes: [
          `evaConfig: { rho: ${Math.max(1, Math.floor((10 * width) / largest.config.r) / 10)} }`,
          `r: ${Math.max(1, Math.floor(width / rho))}`,
        ],
        fields: { path, rank: largest.config.r, rho, width },
      });
    }
    const still = Array.from({ length: count }, () => false);
    const pending = { rows: new Float32Array(0), count: 0 };
    const group = { targets, pca: new IncrementalPca(count), still, pending, tokens: 0, settled: false };
    this.#groups.set(places[0]!.path, group);
    return group;
  }

  inputs(places: readonly Place[], input: InputRows): void {
    const group = this.#group(places, input.width);
    if (group.settled) return;
    const { rows: fresh, count: added } = countedRows(input, this.#settings);
    group.tokens += added;
    const rows = joined(group.pending.rows, fresh);
    const count = group.pending.count + added;
    // Fewer rows than directions say nothing about the last of them: they wait for those of the next batch.
    group.pending = count < group.pca.count ? { rows, count } : { rows: new Float32Array(0), count: 0 };
    if (count < group.pca.count) return;
    const before = group.pca.components;
    group.pca.fit(rows, count, input.width);
    if (before.length > 0)
      group.still = group.pca.components.map((now, k) => cosine(now, before[k]!) >= this.#settings.tau);
    this.#ranks = undefined;
  }

  /** Deals the sum of all ranks out to the directions that explain most, wherever they are. */
  #deal(): Map<string, number> {
    const groups = [...this.#groups.values()];
    const [first, others] = [
      groups.map(({ targets, pca }) => ({ target: targets[0]!, pca })),
      groups.flatMap(({ targets, pca }) => targets.slice(1).map((target) => ({ target, pca }))),
    ];
    const all = [...first, ...others];
    const budget = all.reduce((sum, { target }) => sum + target.config.r, 0);
    const shares = all.flatMap(({ target, pca }) =>
      [...pca.explained].map((share) => ({ path: target.place.path, share })),
    );
    const ranks = new Map(all.map(({ target }) => [target.place.path, 0]));
    shares.sort((a, b) => b.share - a.share);
    for (const { path } of shares.slice(0, budget)) ranks.set(path, ranks.get(path)! + 1);
    // Where shares are equal the first of a group gets the most, which the others then find computed.
    for (const { targets } of groups) {
      const head = targets[0]!.place.path;
      for (const { place } of targets.slice(1)) {
        const [rank, most] = [ranks.get(place.path)!, ranks.get(head)!];
        if (most < rank) ranks.set(head, rank).set(place.path, most);
      }
    }
    return ranks;
  }

  /** Ranks as they stand; before every group has seen rows, as many as could be. */
  #rankOf(path: string, group: Group): number {
    if (this.#ranks === undefined && [...this.#groups.values()].every(({ pca }) => pca.components.length > 0))
      this.#ranks = this.#deal();
    return this.#ranks?.get(path) ?? group.pca.count;
  }

  enough(round: number): boolean {
    this.#rounds = round;
    const groups = [...this.#groups.values()];
    if (round > 0) this.#checkSeen(groups);
    if (groups.length === 0) return false;
    for (const group of groups) {
      const rank = this.#rankOf(group.targets[0]!.place.path, group);
      group.settled = group.still.slice(0, rank).every(Boolean);
    }
    return round >= MAX_ROUNDS || groups.every(({ settled }) => settled);
  }

  #checkSeen(groups: readonly Group[]): void {
    const blind = groups.find(({ pca }) => pca.components.length === 0);
    if (blind === undefined) return;
    const { useLabelMask, labelMaskValue } = this.#settings;
    const needed = blind.pca.count;
    const kept = useLabelMask ? ` (those whose label is not ${labelMaskValue})` : "";
    throw new ConfigError({
      code: "calibration_rows",
      summary: `The batches have ${blind.tokens} tokens that count${kept}; initLoraWeights: eva needs ${needed} or more to find ${needed} directions (r · rho).`,
      fixes: [
        "more rows in calibration",
        "a smaller r, or evaConfig: { rho: 1 }",
        ...(useLabelMask ? ["evaConfig: { useLabelMask: false }"] : []),
      ],
      fields: { needed, tokens: blind.tokens },
    });
  }

  finish(): CalibrationResult {
    const { whiten, adjustScalingFactors } = this.#settings;
    const { r: general, loraAlpha: generalAlpha } = this.#general;
    const found = new Map<string, Float32Array>();
    const without: Place[] = [];
    const rankPattern: Record<string, number> = {};
    const alphaPattern: Record<string, number> = {};
    for (const group of this.#groups.values()) {
      for (const { place, config } of group.targets) {
        const rank = this.#rankOf(place.path, group);
        if (rank === 0) {
          without.push(place);
          continue;
        }
        const { components, singularValues } = group.pca;
        const rows = components
          .slice(0, rank)
          .map((row, k) => (whiten ? row.map((x) => x / Math.sqrt(singularValues[k]!)) : row));
        found.set(place.path, Float32Array.from(rows.flatMap((row) => [...row])));
        const alpha = adjustScalingFactors ? (config.loraAlpha * rank) / config.r : config.loraAlpha;
        if (rank !== general) rankPattern[place.path] = rank;
        if (alpha !== generalAlpha) alphaPattern[place.path] = alpha;
      }
    }
    const moving = [...this.#groups.values()].filter(({ settled }) => !settled);
    const text = `initLoraWeights: eva stopped after ${this.#rounds} rounds through the batches; directions of ${moving.length} inputs, such as that of ${moving[0]?.targets[0]!.place.path}, still moved by more than tau: ${this.#settings.tau} allows.`;
    return {
      options: { rankPattern, alphaPattern },
      without,
      found,
      warnings: moving.length === 0 ? [] : [{ code: "calibration_moving", text }],
    };
  }
}

/**
 * Rows of A are the directions in which the layer's inputs vary most, B is zero. Ranks move to the layers whose directions explain
 * most; a layer that is left with none is not adapted.
 *
 * @see Paischer, Hauzenberger, Schmied, Alkin, Deisenroth and Hochreiter, "One Initialization to Rule them All: Fine-tuning via
 * Explained Variance Adaptation", arXiv:2410.07170
 */
export const eva: LoraStart<EvaConfig> = {
  settings: "evaConfig",
  calibration: (config, targets) => new EvaCalibration(config, linearTargets(targets)),
  start({ scope, config }) {
    scope.once("evaConfig", () => {
      scope.savedOption("evaConfig", () => config.evaConfig ?? {});
      return true;
    });
    return { A: (data) => data.set(scope.calibrated<Float32Array>()!), B: nothing };
  },
};
