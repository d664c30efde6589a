import type { Supervision } from "../nn/language-head.js";
import { type Batch, packBatch, type PackedBatch } from "../text/collate.js";
import { IGNORED } from "../text/encode-example.js";
import { joinMessages } from "../text/join-messages.js";
import type { Message, Tokenizer } from "../text/tokenizer.js";
import { type GenerationStart, LanguageModel } from "./language-model.js";
import type { LanguageOutput } from "./vocabulary-model.js";

/** What `forward` answers. */
export type CausalOutput = LanguageOutput;

/**
 * A causal language model that can run.
 *
 * @example
 * const { logits, loss } = await model.forward({ inputIds: [[1, 2, 3]], labels: [[1, 2, 3]] });
 */
export class CausalLanguageModel extends LanguageModel<Batch> {
  readonly taskType = "CAUSAL_LM";

  pack(batch: Batch | PackedBatch): PackedBatch {
    this.assertOpen();
    return "rowOffsets" in batch
      ? batch
      : packBatch(batch, { vocabularySize: this.head.vocabularySize, maxLength: this.contextLength });
  }

  encodePrompt(
    messages: readonly Message[],
    tokenizer: Tokenizer,
    { raw = false }: { readonly raw?: boolean } = {},
  ): number[] {
    if (raw || tokenizer.chatTemplate === undefined) {
      return tokenizer.encode(joinMessages(messages));
    }
    const text = tokenizer.applyChatTemplate(messages, { addGenerationPrompt: true });
    return tokenizer.encode(text, { addSpecialTokens: false });
  }

  startOf(prompt: readonly number[]): GenerationStart {
    return { tokens: prompt };
  }

  override get predictsFirstToken(): boolean {
    return this.insertedTokens > 0;
  }

  /** The last virtual token of the input predicts the first real one. */
  protected override supervision(packed: PackedBatch): Supervision {
    const { rows, tokens, rowOffsets, labels, supervised, supervisedLabels } = packed;
    if (labels === undefined || !this.predictsFirstToken) return super.supervision(packed);
    const count = this.virtualTokens;
    const first = Array.from({ length: rows }, (_, row) => ({
      row: tokens.length + (row + 1) * count - 1,
      label: labels[rowOffsets[row]!]!,
    })).filter(({ label }) => label !== IGNORED);
    return {
      rows: Int32Array.from([...supervised, ...first.map(({ row }) => row)]),
      labels: Int32Array.from([...supervisedLabels, ...first.map(({ label }) => label)]),
    };
  }
}
