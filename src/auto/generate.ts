import { ConfigError } from "../base/errors.js";
import { integer, type OptionValues } from "../base/option.js";
import { Random } from "../base/random.js";
import { readOptions } from "../base/read-options.js";
import { nextTurn } from "../base/next-turn.js";
import type { TokenBatch } from "../nn/stage.js";
import type { RunOptions } from "../runtime/engine.js";
import { createStreamDecoder } from "../text/stream-decoder.js";
import { continuationOf, lastScores } from "./continuation.js";
import type { LanguageModel } from "./language-model.js";
import { chooseToken, samplingOptions } from "./sampling.js";

/** Options of generation that have a flag. */
export const generationOptions = {
  maxNewTokens: integer({ default: 256, min: 1, doc: "Longest answer in tokens." }),
  ...samplingOptions,
  seed: integer({ default: 0, min: 0, doc: "Seed of the random choices." }),
};

export type GenerationOptions = Partial<OptionValues<typeof generationOptions>> & {
  /** Ends an answer where one of these appears; it is not part of the answer. */
  readonly stop?: readonly string[];
  /** Number of the task of each prompt, for adapters that have tasks. */
  readonly taskIds?: readonly number[] | undefined;
  /** Token ids that end an answer; those of the model unless said otherwise. */
  readonly stopTokens?: readonly number[];
  readonly signal?: AbortSignal | undefined;
};

/** A piece of an answer, as it comes. */
export interface GeneratedPiece {
  /** Number of the prompt. */
  readonly row: number;
  readonly token: number;
  /** Text that is certain by now; empty where the token ends in the middle of a character or of a stop string. */
  readonly text: string;
}

/** A whole answer. */
export interface Generated {
  readonly text: string;
  /** Tokens of the answer, the stop token left out. */
  readonly tokens: readonly number[];
  readonly finishReason: "stop" | "length" | "context";
}

interface Row {
  readonly index: number;
  readonly history: number[];
  readonly answer: number[];
  readonly decoder: { push(id: number): string; end(): string };
  /** Text that may still turn out to be the start of a stop string. */
  pending: string;
  text: string;
  next: number;
}

/** Tokens times weights up to which a step runs on this thread, some 50 ms. */
const BRIEF_WORK = 2 ** 29;

/** Longest tail of `text` that a stop string could begin with. */
function heldBack(text: string, stops: readonly string[]): number {
  let held = 0;
  for (const stop of stops) {
    for (let length = Math.min(stop.length - 1, text.length); length > held; length -= 1) {
      if (text.endsWith(stop.slice(0, length))) held = length;
    }
  }
  return held;
}

function checkPrompts(
  model: LanguageModel,
  prompts: readonly (readonly number[])[],
  taskIds: readonly number[] | undefined,
): void {
  if (taskIds !== undefined && taskIds.length !== prompts.length) {
    throw new ConfigError({
      code: "task_ids_count",
      summary: `taskIds has ${taskIds.length} entries; there are ${prompts.length} prompts.`,
      fields: { taskIds, prompts: prompts.length },
    });
  }
  for (const [i, prompt] of prompts.entries()) {
    if (prompt.length === 0) {
      throw new ConfigError({
        code: "prompt_empty",
        summary: `Prompt ${i + 1} of ${prompts.length} has no tokens.`,
        fields: { row: i },
      });
    }
    if (prompt.length < model.contextLength) continue;
    throw new ConfigError({
      code: "prompt_too_long",
      summary: `Prompt ${i + 1} of ${prompts.length} has ${prompt.length.toLocaleString("en")} tokens and leaves no room for an answer.`,
      facts: [["context", `${model.contextLength.toLocaleString("en")} tokens (${model.name})`]],
      fixes: [`shorten the prompt to fewer than ${model.contextLength.toLocaleString("en")} tokens`],
      fields: { row: i, tokens: prompt.length, contextLength: model.contextLength },
    });
  }
}

/** Rows of tokens without padding, each starting at a position of its own. */
function packRows(
  rows: readonly (readonly number[])[],
  firstPositions: readonly number[],
  taskIds?: readonly number[],
  sources: readonly (readonly number[] | undefined)[] = [],
): TokenBatch {
  const rowOffsets = new Int32Array(rows.length + 1);
  for (const [i, row] of rows.entries()) rowOffsets[i + 1] = rowOffsets[i]! + row.length;
  const positions = Int32Array.from(rows.flatMap((row, i) => row.map((_, t) => firstPositions[i]! + t)));
  return {
    tokens: Int32Array.from(rows.flat()),
    rowOffsets,
    positions,
    taskIds: taskIds === undefined ? undefined : Int32Array.from(taskIds),
    source: sources[0] === undefined ? undefined : packSources(sources as readonly (readonly number[])[]),
  };
}

const packSources = (sources: readonly (readonly number[])[]): TokenBatch =>
  packRows(
    sources,
    sources.map(() => 0),
  );

/**
 * Continues token prompts, several at once, keeping keys and values so that every step runs one token a row.
 *
 * @returns the finished answers, in the order of the prompts; the pieces come while it runs.
 */
export async function* generateTokens(
  model: LanguageModel,
  prompts: readonly (readonly number[])[],
  options: GenerationOptions = {},
): AsyncGenerator<GeneratedPiece, Generated[]> {
  const { stop = [], stopTokens, signal, taskIds, ...named } = options;
  const settings = readOptions(generationOptions, named, { source: "generate" });
  const { tokenizer } = model;
  checkPrompts(model, prompts, taskIds);
  const size = [...model.namedParameters()].reduce((sum, parameter) => sum + parameter.size, 0);
  const ends = new Set(stopTokens ?? model.endTokenIds);
  const random = new Random(settings.seed);
  const continuation = continuationOf(model, prompts.length);
  const starts = prompts.map((prompt) => model.startOf(prompt));
  const finished: Generated[] = [];
  let rows = starts.map(({ tokens }, index): Row => ({
    index,
    history: [...tokens],
    answer: [],
    decoder: tokenizer === undefined ? { push: () => "", end: () => "" } : createStreamDecoder(tokenizer),
    pending: "",
    text: "",
    next: 0,
  }));
  let batch = packRows(
    starts.map(({ tokens }) => tokens),
    starts.map(() => 0),
    taskIds,
    starts.map(({ source }) => source),
  );
  try {
    while (rows.length > 0) {
      signal?.throwIfAborted();
      const run = { signal, brief: batch.tokens.length * size <= BRIEF_WORK };
      // Runs on this thread leave no room for anything else between two tokens unless asked to.
      if (run.brief) await nextTurn();
      const width = model.head.vocabularySize;
      const longest = rows.reduce((most, { history }) => Math.max(most, history.length), 0);
      const scores =
        longest + model.virtualTokens > model.module.cacheLimit
          ? await wholeRowScores(
              model,
              rows.map(({ history, index }) => ({ history, task: taskIds?.[index] })),
              run,
            )
          : await continuation.scores(batch, run);
      for (const [i, row] of rows.entries()) {
        row.next = chooseToken(scores.subarray(i * width, (i + 1) * width), row.history, settings, random);
      }
      const going: number[] = [];
      for (const [i, row] of rows.entries()) {
        const done = (finishReason: Generated["finishReason"]): void => {
          finished[row.index] = { text: row.text, tokens: row.answer, finishReason };
        };
        if (ends.has(row.next)) {
          const text = row.pending + row.decoder.end();
          row.text += text;
          if (text !== "") yield { row: row.index, token: row.next, text };
          done("stop");
          continue;
        }
        row.answer.push(row.next);
        row.history.push(row.next);
        row.pending += row.decoder.push(row.next);
        const hit = Math.min(
          ...stop.map((text) => row.pending.indexOf(text)).filter((at) => at >= 0),
          Infinity,
        );
        const full = row.history.length >= model.contextLength;
        const last = row.answer.length >= settings.maxNewTokens || full;
        if (last && hit === Infinity) row.pending += row.decoder.end();
        const sure =
          hit < Infinity ? hit : last ? row.pending.length : row.pending.length - heldBack(row.pending, stop);
        const text = row.pending.slice(0, sure);
        row.pending = row.pending.slice(sure);
        row.text += text;
        yield { row: row.index, token: row.next, text };
        if (hit < Infinity) done("stop");
        else if (last) done(full ? "context" : "length");
        else going.push(i);
      }
      continuation.keepRows(going);
      rows = going.map((i) => rows[i]!);
      batch = packRows(
        rows.map((row) => [row.next]),
        rows.map((row) => row.history.length - 1),
      );
    }
  } finally {
    await continuation.release();
  }
  return finished;
}

/** Scores of models whose positions depend on the length of the row: each row is run as a whole, (rows, V). */
async function wholeRowScores(
  model: LanguageModel,
  rows: readonly { readonly history: readonly number[]; readonly task: number | undefined }[],
  run: RunOptions,
): Promise<Float32Array> {
  const width = model.head.vocabularySize;
  const scores = new Float32Array(rows.length * width);
  for (const [i, { history, task }] of rows.entries()) {
    const batch = packRows([history], [0], task === undefined ? undefined : [task]);
    const pass = await model.runner.forward(batch, run);
    try {
      scores.set(await lastScores(model, pass.hidden, batch, run), i * width);
    } finally {
      pass.release();
    }
  }
  return scores;
}

/** Continues token prompts and answers when all are done. */
export async function generate(
  model: LanguageModel,
  prompts: readonly (readonly number[])[],
  options: GenerationOptions = {},
): Promise<Generated[]> {
  const pieces = generateTokens(model, prompts, options);
  for (;;) {
    const step = await pieces.next();
    if (step.done === true) return step.value;
  }
}
