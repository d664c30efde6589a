import { ConfigError, ShapeError } from "../base/errors.js";
import { binaryCrossEntropyLoss, crossEntropyLoss, squaredErrorLoss } from "../nn/task-loss.js";
import type { PackedTokens, Rows, TokenInputs } from "../text/collate.js";
import { type Answers, likeliest } from "./answers.js";
import { HeadedModel, type Judge, type PreparedBatch } from "./headed-model.js";
import type { ModelOutput, PlainTensor } from "./pretrained-model.js";

/** A batch of texts with their classes. */
export interface ClassificationBatch extends TokenInputs {
  /**
   * Class numbers (B), numbers to predict (B) where the model has one output, or (B, C) of 0 and 1 where several classes may
   * hold; −100 leaves a row out.
   */
  readonly labels?: ArrayLike<number> | Rows | undefined;
}

export interface ClassifierOutput extends ModelOutput {
  /** Scores (B, C), before softmax or sigmoid. */
  readonly logits: PlainTensor;
}

export const PROBLEM_TYPES = [
  "single_label_classification",
  "multi_label_classification",
  "regression",
] as const;

/** What the scores of a classifier mean, as `problem_type` names it. */
export type ProblemType = (typeof PROBLEM_TYPES)[number];

const isRows = (labels: ArrayLike<number> | Rows): labels is Rows => typeof labels[0] === "object";

/** Classifies whole texts: one class, several, or a number. */
export class SequenceClassifier extends HeadedModel<ClassificationBatch, ClassifierOutput> {
  readonly taskType = "SEQ_CLS";

  /** From the config; without it one output means a number, and several mean one class. */
  get problemType(): ProblemType | undefined {
    const named = this.config.values["problem_type"];
    if (named === undefined || named === null) return undefined;
    if (PROBLEM_TYPES.includes(named as ProblemType)) return named as ProblemType;
    throw new ConfigError({
      code: "problem_type",
      summary: `problem_type is ${JSON.stringify(named)}; ${PROBLEM_TYPES.join(" or ")} was expected.`,
      fields: { problemType: named },
    });
  }

  protected override judge(inputs: ClassificationBatch, { rows }: PackedTokens): Judge | undefined {
    const { labels } = inputs;
    if (labels === undefined) return undefined;
    if (labels.length !== rows)
      throw shape(`labels has ${labels.length} entries; the batch has ${rows} rows.`, { rows });
    const classes = this.config.labelCount();
    const guess = classes === 1 ? "regression" : isRows(labels) ? PROBLEM_TYPES[1] : PROBLEM_TYPES[0];
    const kind = this.problemType ?? guess;
    if (kind === "single_label_classification") {
      const list = Array.from(isRows(labels) ? labels.map((row) => row[0]!) : labels, Number);
      const row = list.findIndex(
        (label) => label !== -100 && !(Number.isInteger(label) && label >= 0 && label < classes),
      );
      if (row >= 0)
        throw shape(`labels: row ${row} is ${list[row]}; the model has classes 0 to ${classes - 1}.`, {
          row,
        });
      return {
        loss: (scores) => crossEntropyLoss(scores, list),
        answers: (scores) =>
          this.#answers(
            "class",
            (row) => [likeliest(scores, row * classes, classes)],
            [...list.entries()].filter(([, label]) => label !== -100).map(([at, label]) => [at, [label]]),
          ),
      };
    }
    const targets = isRows(labels)
      ? labels.flatMap((row) => Array.from(row, Number))
      : Array.from(labels, Number);
    if (targets.length !== rows * classes) {
      throw shape(
        `labels has ${targets.length} numbers; ${rows} rows with ${classes} outputs need ${rows * classes}.`,
        { rows, classes },
      );
    }
    const part = (values: ArrayLike<number>, row: number): number[] =>
      Array.from({ length: classes }, (_, i) => values[row * classes + i]!);
    const expected = Array.from({ length: rows }, (_, row): [number, number[]] => [row, part(targets, row)]);
    if (kind === "regression") {
      return {
        loss: (scores) => squaredErrorLoss(scores, targets, rows),
        answers: (scores) => this.#answers("number", (row) => part(scores, row), expected),
      };
    }
    return {
      loss: (scores) => binaryCrossEntropyLoss(scores, targets, rows),
      answers: (scores) =>
        this.#answers("classes", (row) => part(scores, row).map((score) => Number(score > 0)), expected),
    };
  }

  #answers(
    kind: Answers["kind"],
    predicted: (row: number) => number[],
    expected: readonly (readonly [row: number, labels: readonly number[]])[],
  ): Answers {
    const rows = expected.map(([row, labels]) => ({ predicted: predicted(row), expected: labels }));
    return { kind, labels: this.labels, rows };
  }

  protected override output(
    { packed }: PreparedBatch,
    scores: Float32Array,
    outcome: ModelOutput,
  ): ClassifierOutput {
    return { logits: { data: scores, dims: [packed.rows, scores.length / packed.rows] }, ...outcome };
  }
}

const shape = (summary: string, fields: Readonly<Record<string, unknown>>): ShapeError =>
  new ShapeError({ code: "label", summary, fields });
