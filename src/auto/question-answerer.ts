import { ShapeError } from "../base/errors.js";
import { NO_LABEL, spanLoss } from "../nn/task-loss.js";
import type { PackedTokens, TokenInputs } from "../text/collate.js";
import { HeadedModel, type Judge, padScores, type PreparedBatch } from "./headed-model.js";
import type { ModelOutput, PlainTensor } from "./pretrained-model.js";

/** Questions with their contexts, and where the answers lie. */
export interface QuestionBatch extends TokenInputs {
  /** Columns of `inputIds` where each answer starts and ends; a row whose answer lies outside of it does not count. */
  readonly startPositions?: ArrayLike<number> | undefined;
  readonly endPositions?: ArrayLike<number> | undefined;
}

export interface QuestionOutput extends ModelOutput {
  /** Scores (B, T) of each token as the start and as the end of the answer; −∞ where there is padding. */
  readonly startLogits: PlainTensor;
  readonly endLogits: PlainTensor;
}

/** Finds answers in the text that a question is about. */
export class QuestionAnswerer extends HeadedModel<QuestionBatch, QuestionOutput> {
  readonly taskType = "QUESTION_ANS";

  protected override judge(inputs: QuestionBatch, packed: PackedTokens): Judge | undefined {
    const { startPositions, endPositions } = inputs;
    if (startPositions === undefined && endPositions === undefined) return undefined;
    const columns = { startPositions, endPositions };
    const tokenAt = new Map(Array.from(packed.paddedIndex, (at, token) => [at, token]));
    const [starts, ends] = Object.entries(columns).map(([name, positions]) => {
      if (positions?.length !== packed.rows) {
        throw new ShapeError({
          code: "label",
          summary: `${name} has ${positions?.length ?? 0} entries; the batch has ${packed.rows} rows.`,
          fields: { name, rows: packed.rows },
        });
      }
      return Array.from(positions, (column, row) =>
        column >= packed.padded ? NO_LABEL : (tokenAt.get(row * packed.padded + column) ?? NO_LABEL),
      );
    });
    return {
      loss: (scores) => spanLoss(scores, packed.rowOffsets, starts!, ends!),
      answers: (scores) => ({
        kind: "span",
        labels: [],
        rows: Array.from({ length: packed.rows }, (_, row) => ({
          predicted: bestSpan(scores, packed.rowOffsets[row]!, packed.rowOffsets[row + 1]!),
          expected: [starts![row]!, ends![row]!],
        })).filter(({ expected }) => !expected.includes(NO_LABEL)),
      }),
    };
  }

  protected override output(
    { packed }: PreparedBatch,
    scores: Float32Array,
    outcome: ModelOutput,
  ): QuestionOutput {
    const column = (at: number): PlainTensor => {
      const { data } = padScores(
        packed,
        scores.filter((_, i) => i % 2 === at),
        1,
        -Infinity,
      );
      return { data, dims: [packed.rows, packed.padded] };
    };
    return { startLogits: column(0), endLogits: column(1), ...outcome };
  }
}

/** Longest answer in tokens that is looked for. */
const LONGEST_ANSWER = 30;

/** The first and last token of the likeliest answer within tokens `from` … `to` − 1. */
export function bestSpan(scores: ArrayLike<number>, from: number, to: number): [start: number, end: number] {
  let best: [number, number] = [from, from];
  let top = -Infinity;
  for (let start = from; start < to; start += 1) {
    for (let end = start; end < Math.min(to, start + LONGEST_ANSWER); end += 1) {
      const score = scores[2 * start]! + scores[2 * end + 1]!;
      if (score > top) [top, best] = [score, [start, end]];
    }
  }
  return best;
}
