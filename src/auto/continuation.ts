import { CachedRun } from "../nn/cached-run.js";
import { KeyValueCache } from "../nn/key-value-cache.js";
import type { TokenBatch } from "../nn/stage.js";
import type { RunOptions } from "../runtime/engine.js";
import type { LanguageModel } from "./language-model.js";

/** Rows that are continued token by token: what came before is kept. */
export interface Continuation {
  /** Scores after the new tokens of each row, (rows, V). */
  scores(batch: TokenBatch, options: RunOptions): Promise<Float32Array>;
  /** Forgets rows that are finished; the remaining ones are numbered anew in the given, ascending order. */
  keepRows(rows: readonly number[]): void;
  /** Must be called when no more is asked for. */
  release(): Promise<void>;
}

/** As one graph, where the model and the engine allow it. */
export function asOneGraph(
  model: LanguageModel,
  rows: number,
  programs = model.cachedPrograms,
): Continuation | undefined {
  let program = programs.current;
  if (program === undefined) return undefined;
  const run = new CachedRun(model.runner, program, rows, () => programs.steps);
  return {
    async scores(batch, options) {
      program = programs.current ?? program!;
      return run.scores(program, batch, model.head.vocabularySize, options);
    },
    keepRows: (kept) => run.keepRows(kept),
    release: () => run.release(),
  };
}

/** Stage by stage, as a batch is run. */
export function stageByStage(model: LanguageModel): Continuation {
  const cache = new KeyValueCache();
  return {
    async scores(batch, options) {
      const pass = await model.runner.forward(batch, { cache, ...options });
      try {
        return await lastScores(model, pass.hidden, batch, options);
      } finally {
        pass.release();
      }
    },
    keepRows: (kept) => cache.keepRows(kept),
    release: () => Promise.resolve(),
  };
}

/** The fastest way that a model has to continue some rows. */
export const continuationOf = (model: LanguageModel, rows: number): Continuation =>
  asOneGraph(model, rows) ?? stageByStage(model);

/** Scores of the last token of each row, (rows, V). */
export async function lastScores(
  model: LanguageModel,
  hidden: Parameters<LanguageModel["head"]["logits"]>[0],
  batch: TokenBatch,
  run: RunOptions,
): Promise<Float32Array> {
  const rows = batch.rowOffsets.length - 1;
  if (batch.tokens.length === rows) return model.head.logits(hidden, 0, rows, run);
  const width = model.head.vocabularySize;
  const scores = new Float32Array(rows * width);
  for (let row = 0; row < rows; row += 1) {
    const last = batch.rowOffsets[row + 1]! - 1;
    scores.set(await model.head.logits(hidden, last, last + 1, run), row * width);
  }
  return scores;
}
