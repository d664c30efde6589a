import { type Batch, packMasked, type PackedBatch } from "../text/collate.js";
import { VocabularyModel } from "./vocabulary-model.js";

/**
 * An encoder that finds the words that were masked. Labels stand at the masked tokens themselves, −100 everywhere else.
 *
 * @example
 * const { logits, loss } = await model.forward({ inputIds: [[101, 103, 102]], labels: [[-100, 7592, -100]] });
 */
export class MaskedLanguageModel extends VocabularyModel<Batch> {
  readonly taskType = "MASKED_LM";

  pack(batch: Batch | PackedBatch): PackedBatch {
    this.assertOpen();
    return "rowOffsets" in batch
      ? batch
      : packMasked(batch, { vocabularySize: this.head.vocabularySize, maxLength: this.contextLength });
  }
}
