import { ShapeError } from "../base/errors.js";
import { crossEntropyLoss } from "../nn/task-loss.js";
import { type Batch, type PackedTokens, tokenLabels } from "../text/collate.js";
import { HeadedModel, type LossOfScores, padScores, type PreparedBatch } from "./headed-model.js";
import type { ModelOutput, PlainTensor } from "./pretrained-model.js";

export interface TokenClassifierOutput extends ModelOutput {
  /** Scores (B, T, C) in the padded shape of the batch; rows of padding are zero. */
  readonly logits: PlainTensor;
}

/** Classifies every token. */
export class TokenClassifier extends HeadedModel<Batch, TokenClassifierOutput> {
  readonly taskType = "TOKEN_CLS";

  protected override lossOf(inputs: Batch, packed: PackedTokens): LossOfScores | undefined {
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
    return (scores) => crossEntropyLoss(scores, labels);
  }

  protected override output(
    { packed }: PreparedBatch,
    scores: Float32Array,
    loss: number | undefined,
  ): TokenClassifierOutput {
    return { logits: padScores(packed, scores, scores.length / packed.tokens.length), loss };
  }
}
