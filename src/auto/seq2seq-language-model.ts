import type { PackedBatch } from "../text/collate.js";
import { packSeq2Seq, type Seq2SeqBatch } from "../text/collate-seq2seq.js";
import { IGNORED } from "../text/encode-example.js";
import { joinMessages } from "../text/join-messages.js";
import { encodeWithEnd } from "../text/seq2seq-dataset.js";
import type { Message, Tokenizer } from "../text/tokenizer.js";
import { type Answers, likeliest } from "./answers.js";
import { type GenerationStart, LanguageModel } from "./language-model.js";

/** The likeliest token of every row of scores (R, V). */
function likeliestTokens(scores: Float32Array, vocabularySize: number): number[] {
  return Array.from({ length: scores.length / vocabularySize }, (_, i) =>
    likeliest(scores, i * vocabularySize, vocabularySize),
  );
}

/**
 * An encoder with a decoder that writes answers.
 *
 * @example
 * const { logits, loss } = await model.forward({ inputIds: [[21820, 296, 1]], labels: [[1712, 1]] });
 */
export class Seq2SeqLanguageModel extends LanguageModel<Seq2SeqBatch> {
  readonly taskType = "SEQ_2_SEQ_LM";

  #id(...keys: readonly string[]): number {
    const found = keys
      .flatMap((key) => [this.generationConfig[key], this.config.values[key]])
      .find((value) => typeof value === "number");
    return found ?? 0;
  }

  /** Token that every answer begins behind: `decoder_start_token_id`, else that of padding. */
  get startTokenId(): number {
    return this.#id("decoder_start_token_id", "pad_token_id");
  }

  pack(batch: Seq2SeqBatch | PackedBatch): PackedBatch {
    this.assertOpen();
    if ("rowOffsets" in batch) return batch;
    return packSeq2Seq(batch, {
      vocabularySize: this.head.vocabularySize,
      maxLength: this.contextLength,
      start: this.startTokenId,
      padding: this.#id("pad_token_id"),
    });
  }

  encodePrompt(messages: readonly Message[], tokenizer: Tokenizer): number[] {
    return encodeWithEnd(tokenizer, joinMessages(messages));
  }

  startOf(prompt: readonly number[]): GenerationStart {
    return { tokens: [this.startTokenId], source: prompt };
  }

  /**
   * The likeliest token at every place of the answers. Where all are right, the greedy answer is right too, and the other way
   * round.
   */
  protected override async answers(
    { rows, rowOffsets, labels }: PackedBatch,
    logits: (start: number, end: number) => Promise<Float32Array>,
  ): Promise<Answers> {
    const answered: Answers["rows"][number][] = [];
    for (let row = 0; row < rows; row += 1) {
      const [start, end] = [rowOffsets[row]!, rowOffsets[row + 1]!];
      const expected = Array.from(labels?.subarray(start, end) ?? []);
      const counted = (_: number, i: number): boolean => expected[i] !== IGNORED;
      const predicted = likeliestTokens(await logits(start, end), this.head.vocabularySize);
      answered.push({ predicted: predicted.filter(counted), expected: expected.filter(counted) });
    }
    return { kind: "tokens", labels: [], rows: answered };
  }
}
