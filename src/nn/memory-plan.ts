import { topologicalOrder } from "../graph/value.js";
import type { Plan, Slot } from "./plan.js";
import { type ChunkSizes, mostTokens } from "./row-chunks.js";
import type { BoundGraph } from "./token-program.js";

const MIB = 2 ** 20;

/** Rows whose scores are there at once, unless they take more bytes than this or memory is limited. */
const SCORE_ROWS = 128;
const SCORE_BYTES = 48 * MIB;

const scoreBytesOf = (vocabularySize: number): number =>
  vocabularySize === 0 ? SCORE_BYTES : Math.min(SCORE_BYTES, 4 * SCORE_ROWS * vocabularySize);

/** The share of a limit that is divided: garbage that waits for its collection, and scratch memory of the runtime, take the rest. */
const USABLE = 0.7;

/** Blocks of memory are used again for what fills most of them. */
const BLOCK_WASTE = 1.25;

/** What one step of a training may take, where the memory of the process is limited. */
export interface MemoryPlan {
  /** Tokens of one pass; a batch with more is run in parts. */
  readonly passTokens: number;
  /** Bytes of matrix products that a pass over so many tokens keeps for its backward pass, beside its streams. */
  activationBytes(tokens: number): number;
  /** Bytes of the scores of one chunk of rows. */
  readonly scoreBytes: number;
  /** Bytes of the memory for activations. */
  readonly poolBytes: number;
  /** The fewest bytes that a step could do with, for a row of so many tokens. */
  least(tokens: number): number;
}

/** Stages whose streams are in memory where those that wait are in a file: written, computed, and read ahead. */
const STAGES_IN_MEMORY = 4;

/** Bytes a token of the streams that the backward pass reads again and that are in memory at once. */
function keptBytes(plan: Plan, offloads: boolean): number {
  const widths = new Map<Slot, number>();
  const kept = new Set<Slot>();
  for (const stage of plan.stages) {
    if (stage.kind === "attention") {
      widths.set(stage.writes["context"]!, stage.stage.heads * stage.stage.headDim);
      if (stage.backward) for (const slot of Object.values(stage.reads)) kept.add(slot);
      continue;
    }
    for (const [name, slot] of Object.entries(stage.writes)) widths.set(slot, stage.widths[name]!);
    for (const source of stage.recompute.backward?.sources ?? [])
      if (source.kind === "stream") kept.add(stage.reads[source.stream]!);
  }
  const bytesOf = (slots: Iterable<Slot>): number =>
    4 * [...slots].reduce((sum, slot) => sum + (widths.get(slot) ?? 0), 0);
  const all = bytesOf(kept);
  const widest = plan.stages.reduce((most, { reads }) => Math.max(most, bytesOf(Object.values(reads))), 0);
  return offloads ? Math.min(all, STAGES_IN_MEMORY * widest) : all;
}

/** While nothing is trained, nothing is kept. */
export const resting = (vocabularySize: number): MemoryPlan => ({
  passTokens: Infinity,
  activationBytes: () => 0,
  scoreBytes: scoreBytesOf(vocabularySize),
  poolBytes: Infinity,
  least: () => 0,
});

/** Without a limit batches are run whole; of the bytes for activations, products have what streams leave. */
export function unlimited(
  plan: Plan,
  given: {
    readonly vocabularySize: number;
    readonly activationBytes: number;
    readonly offloads: boolean;
  },
): MemoryPlan {
  const perToken = keptBytes(plan, given.offloads);
  return {
    ...resting(given.vocabularySize),
    activationBytes: (tokens) => Math.max(0, given.activationBytes - perToken * tokens),
  };
}

/** Bytes a token of everything that a graph computes; about half of it is there at once. */
function computedBytes({ graph }: BoundGraph): number {
  const widths = topologicalOrder(graph).map(({ type: { shape } }) =>
    typeof shape[0] === "string" && typeof shape[1] === "number" ? shape[1] : 0,
  );
  return 4 * widths.reduce((sum, width) => sum + width, 0);
}

/** Bytes of what the widest stage computes on its way back, for a number of tokens. */
function workingBytes(plan: Plan, chunks: ChunkSizes): (tokens: number) => number {
  const stages = plan.stages.flatMap((stage) => {
    const backward = stage.kind === "tokens" ? stage.recompute.backward : undefined;
    if (backward === undefined) return [];
    return { perToken: computedBytes(backward) / 2, most: mostTokens(backward, chunks) };
  });
  return (tokens) =>
    stages.reduce((bytes, { perToken, most }) => Math.max(bytes, perToken * Math.min(tokens, most)), 0);
}

/** More than any batch has. */
const MANY_TOKENS = 2 ** 40;

/** The most tokens that take no more than some bytes. */
function mostWithin(bytes: number, bytesOf: (tokens: number) => number): number {
  let [low, high] = [0, MANY_TOKENS];
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (bytesOf(middle) <= bytes) low = middle;
    else high = middle - 1;
  }
  return low;
}

/** Bytes of the weights that are kept in 8 bits, as they stand and turned. */
function int8Bytes(plan: Plan): number {
  const parameters = new Set(
    plan.stages.flatMap((stage) =>
      stage.kind === "tokens"
        ? stage.save.forward.sources.flatMap((source) => (source.kind === "int8" ? [source.parameter] : []))
        : [],
    ),
  );
  return [...parameters].reduce((sum, { size }) => sum + 2 * size, 0);
}

/**
 * Divides what a limit leaves: first for what cannot be avoided (what is resident already, the head with a chunk of scores), then
 * for the streams of as many tokens as fit, then for matrix products that are kept instead of computed again.
 */
export function planMemory(
  plan: Plan,
  given: {
    readonly limit: number;
    /** Bytes of the process before the first step. */
    readonly resident: number;
    readonly vocabularySize: number;
    /** Bytes of the decoded weights of the head. */
    readonly headBytes: number;
    /** The most that activations may take. */
    readonly activationBytes: number;
    /** Whether streams wait for the backward pass in a file. */
    readonly offloads: boolean;
    readonly chunks: ChunkSizes;
  },
): MemoryPlan {
  const scoreBytes = Math.min(scoreBytesOf(given.vocabularySize), given.limit / 50);
  // Scores, their exponentials, and their gradient.
  const fixed = given.resident + given.headBytes + int8Bytes(plan) + 3 * scoreBytes;
  const working = workingBytes(plan, given.chunks);
  const kept = keptBytes(plan, given.offloads);
  const bytesOf = (tokens: number): number => BLOCK_WASTE * kept * tokens + working(tokens);
  const left = USABLE * given.limit - fixed;
  return {
    passTokens: Math.max(1, mostWithin(left, bytesOf)),
    activationBytes: (tokens) =>
      Math.max(0, Math.min(given.activationBytes - kept * tokens, left - bytesOf(tokens))),
    scoreBytes,
    poolBytes: left + given.headBytes,
    least: (tokens) => (fixed + bytesOf(tokens)) / USABLE,
  };
}
