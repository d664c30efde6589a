import { ConfigError } from "../base/errors.js";
import { Random } from "../base/random.js";
import type { Dataset } from "./dataset.js";
import type { EncodedExample } from "./encode-example.js";

/** How the rows of a data set become batches. */
export interface BatchOrderOptions {
  /** Rows of a batch, or rows that others were packed into. */
  readonly batchSize: number;
  /** Batches of a step. */
  readonly gradientAccumulation: number;
  readonly shuffle: boolean;
  readonly seed: number;
  /** Puts rows of like length into one step. */
  readonly groupByLength?: boolean | undefined;
  /** Puts short rows together, up to `maxLength` tokens. */
  readonly packing?: boolean | undefined;
  /** Tokens that packed rows fill; the longest row where absent. */
  readonly maxLength?: number | undefined;
}

/** Steps that are sorted together, at most; fewer where the data set would be less than four such parts. */
const SORTED_STEPS = 50;

const lengthOf = ({ inputIds, labels, labelsApart }: EncodedExample): number =>
  inputIds.length + (labelsApart === true ? labels.length : 0);

/**
 * Puts the rows into as few groups of at most `capacity` tokens as best-fit-decreasing finds: the longest first, each where it leaves
 * the least room.
 */
function packRows(examples: readonly EncodedExample[], capacity: number): number[][] {
  const lengths = examples.map(lengthOf);
  const order = examples.map((_, i) => i).sort((a, b) => lengths[b]! - lengths[a]! || a - b);
  // Groups by the room they have left; room is a small number, so looking upwards from the length is short.
  const open = new Map<number, number[][]>();
  const groups: number[][] = [];
  for (const row of order) {
    const length = lengths[row]!;
    let room = length;
    while (room <= capacity && (open.get(room)?.length ?? 0) === 0) room += 1;
    let group = open.get(room)?.pop();
    if (group === undefined) {
      room = capacity;
      groups.push((group = []));
    }
    group.push(row);
    const left = room - length;
    open.set(left, [...(open.get(left) ?? []), group]);
  }
  return groups;
}

/** Sorts parts of an order by length, descending, and begins with the longest row of all, so that memory peaks in the first step. */
function sortedParts(order: readonly number[], lengths: readonly number[], rowsOfStep: number): number[] {
  const steps = Math.max(1, Math.min(SORTED_STEPS, Math.floor(order.length / (4 * rowsOfStep))));
  const size = steps * rowsOfStep;
  const sorted: number[] = [];
  for (let i = 0; i < order.length; i += size)
    sorted.push(...order.slice(i, i + size).sort((a, b) => lengths[b]! - lengths[a]!));
  const longest = sorted.reduce((best, unit, i) => (lengths[unit]! > lengths[sorted[best]!]! ? i : best), 0);
  [sorted[0], sorted[longest]] = [sorted[longest]!, sorted[0]!];
  return sorted;
}

/**
 * Cuts a data set into the batches of its steps.
 *
 * Rows are never joined into one: packed rows share a batch, keep their own positions and do not see each other, so packing
 * changes which rows make a step and nothing else. Padding is never computed, with or without these options.
 *
 * @throws {@link ConfigError} `option_conflict` where `groupByLength` and `packing` are both on
 * @example
 * const order = new BatchOrder(dataset, { batchSize: 4, gradientAccumulation: 1, shuffle: true, seed: 0, packing: true, maxLength: 512 });
 * for (const batches of order.steps(0)) for (const rows of batches) dataset.collate(rows);
 * @see Krell et al., "Efficient Sequence Packing without Cross-contamination", arXiv:2107.02027
 */
export class BatchOrder {
  /** What is shuffled: rows, alone or packed together. */
  readonly #units: readonly (readonly number[])[];
  readonly #lengths: readonly number[];

  constructor(
    readonly dataset: Dataset,
    readonly options: BatchOrderOptions,
  ) {
    const { groupByLength = false, packing = false, maxLength } = options;
    if (groupByLength && packing) {
      throw new ConfigError({
        code: "option_conflict",
        summary: "groupByLength and packing are both on; packed rows are of one length already.",
        fixes: ["leave out groupByLength   (--group-by-length)", "leave out packing   (--packing)"],
        fields: { groupByLength, packing },
      });
    }
    const { examples } = dataset;
    const longest = examples.reduce((most, one) => Math.max(most, lengthOf(one)), 0);
    this.#units = packing
      ? packRows(examples, Math.max(longest, maxLength ?? 0))
      : examples.map((_, i) => [i]);
    this.#lengths = this.#units.map((unit) => unit.reduce((sum, row) => sum + lengthOf(examples[row]!), 0));
  }

  get #unitsOfStep(): number {
    return this.options.batchSize * this.options.gradientAccumulation;
  }

  /** Steps of an epoch. */
  get stepsPerEpoch(): number {
    return Math.ceil(this.#units.length / this.#unitsOfStep);
  }

  /** The batches of each step of an epoch; the order depends on the seed and the epoch alone. */
  *steps(epoch: number): Generator<EncodedExample[][]> {
    const { batchSize, shuffle, seed, groupByLength = false } = this.options;
    const indices = this.#units.map((_, i) => i);
    const shuffled = shuffle
      ? new Random((Math.imul(seed, 0x9e3779b1) + epoch) >>> 0).shuffle(indices)
      : indices;
    const size = this.#unitsOfStep;
    const order = groupByLength ? sortedParts(shuffled, this.#lengths, size) : shuffled;
    for (let i = 0; i < order.length; i += size) {
      const units = order.slice(i, i + size).map((unit) => this.#units[unit]!);
      const batches: EncodedExample[][] = [];
      for (let j = 0; j < units.length; j += batchSize) {
        const rows = units.slice(j, j + batchSize).flat();
        batches.push(rows.map((row) => this.dataset.examples[row]!));
      }
      yield batches;
    }
  }
}
