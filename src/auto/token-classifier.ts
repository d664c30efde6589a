import { ShapeError } from "../base/errors.js";
import { crossEntropyLoss } from "../nn/task-loss.js";
import { type Batch, type LabelledTokens, type PackedTokens, tokenLabels } from "../text/collate.js";
import { likeliest } from "./answers.js";
import { HeadedModel, type Judge, padScores, type PreparedBatch } from "./headed-model.js";
import type { ModelOutput, PlainTensor } from "./pretrained-model.js";

export interface TokenClassifierOutput extends ModelOutput {
  /** Scores (B, T, C) in the padded shape of the batch; rows of padding are zero. */
  readonly logits: PlainTensor;
}

/** Classifies every token. */
export class TokenClassifier extends HeadedModel<Batch, TokenClassifierOutput> {
  readonly taskType = "TOKEN_CLS";

  override pack(inputs: Batch): LabelledTokens {
    const packed = super.pack(inputs);
    const { inputIds, labels } = inputs;
    return labels === undefined
      ? packed
      : { ...packed, labels: Int32Array.from(tokenLabels(packed, inputIds, labels)) };
  }

  protected override judge(inputs: Batch, packed: PackedTokens): Judge | undefined {
    if (inputs.labels === undefined) return undefined;
    const labels = tokenLabels(packed, inputs.inputIds, inputs.labels);
    const classes = this.config.labelCount();
    const at = labels.findIndex(
      (label) => label !== -100 && !(Number.isInteger(label) && label >= 0 && label < classes),
    );
    if (at >= 0) {
      const row = Math.floor(packed.paddedIndex[at]! / packed.padded);
      throw new ShapeError({
        code: "label",
        summary: `labels: row ${row} holds ${labels[at]}; the model has classes 0 to ${classes - 1}.`,
        fields: { row, label: labels[at], classes },
      });
    }
    return {
      loss: (scores) => crossEntropyLoss(scores, labels),
      answers: (scores) => ({
        kind: "tags",
        labels: this.labels,
        rows: Array.from({ length: packed.rows }, (_, row) => {
          const tokens = Array.from(
            { length: packed.rowOffsets[row + 1]! - packed.rowOffsets[row]! },
            (__, i) => packed.rowOffsets[row]! + i,
          ).filter((token) => labels[token] !== -100);
          return {
            predicted: tokens.map((token) => likeliest(scores, token * classes, classes)),
            expected: tokens.map((token) => labels[token]!),
          };
        }),
      }),
    };
  }

  protected override output(
    { packed }: PreparedBatch,
    scores: Float32Array,
    outcome: ModelOutput,
  ): TokenClassifierOutput {
    return { logits: padScores(packed, scores, scores.length / packed.tokens.length), ...outcome };
  }
}
