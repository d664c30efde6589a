import {
  checkLabel,
  checkRows,
  fault,
  type PackedBatch,
  type PackedTokens,
  packTokens,
  type Rows,
  type TokenInputs,
} from "./collate.js";
import { IGNORED } from "./encode-example.js";

/** A batch for an encoder with a decoder: the tokens are those of the encoder. */
export interface Seq2SeqBatch extends TokenInputs {
  /** Tokens of the answer, its end token included; −100 where nothing is learnt. The decoder reads them shifted to the right. */
  readonly labels?: Rows | undefined;
  /** What the decoder reads, where labels shifted to the right are not it; labels then go with it column by column. */
  readonly decoderInputIds?: Rows | undefined;
  readonly decoderAttentionMask?: Rows | undefined;
}

export interface Seq2SeqPackOptions {
  readonly vocabularySize: number;
  readonly maxLength?: number;
  /** Token that every answer begins behind. */
  readonly start: number;
  /** Token that a decoder reads in the place of an ignored label. */
  readonly padding: number;
}

interface DecoderTokens {
  readonly inputIds: Rows;
  readonly attentionMask: Rows | undefined;
}

/** Labels shifted to the right, without the ignored ones behind the last that counts. */
function shifted(labels: Rows, { start, padding, vocabularySize }: Seq2SeqPackOptions): DecoderTokens {
  const rows = labels.map((row) => Array.from(row, Number));
  const lengths = rows.map((row, b) => {
    for (const label of row) if (label !== IGNORED) checkLabel(label, b, vocabularySize);
    // A row that nothing is learnt from still begins.
    return Math.max(1, 1 + row.findLastIndex((label) => label !== IGNORED));
  });
  return {
    inputIds: rows.map((row) => [
      start,
      ...row.slice(0, -1).map((label) => (label === IGNORED ? padding : label)),
    ]),
    attentionMask: rows.map((row, b) =>
      Array.from({ length: Math.max(1, row.length) }, (_, i) => Number(i < lengths[b]!)),
    ),
  };
}

/**
 * Drops the padding of source and answer. The packed rows are those of the decoder; what the encoder reads is their `source`.
 *
 * @throws {@link ShapeError} as `packTokens` does; `label`; `decoder_rows_missing` where there are neither labels nor decoderInputIds
 */
export function packSeq2Seq(batch: Seq2SeqBatch, options: Seq2SeqPackOptions): PackedBatch {
  const { labels, decoderInputIds, decoderAttentionMask, ...inputs } = batch;
  const { vocabularySize, maxLength = Infinity } = options;
  const source = packTokens(inputs, { vocabularySize, maxLength });
  const given = decoderInputIds ?? labels;
  if (given === undefined) {
    throw fault(
      "decoder_rows_missing",
      "The batch has neither labels nor decoderInputIds, so there is nothing for the decoder to read.",
      {},
    );
  }
  const name = decoderInputIds === undefined ? "labels" : "decoderInputIds";
  if (given.length !== source.rows) {
    throw fault("batch_shape", `${name} has ${given.length} rows; inputIds has ${source.rows}.`, { name });
  }
  if (decoderInputIds !== undefined) checkRows({ labels }, decoderInputIds, name);
  else if (decoderAttentionMask !== undefined) checkRows({ decoderAttentionMask }, given, name);
  const decoder =
    decoderInputIds === undefined
      ? shifted(given, options)
      : { inputIds: decoderInputIds, attentionMask: decoderAttentionMask };
  const packed = packTokens({ ...decoder, taskIds: inputs.taskIds }, { vocabularySize, maxLength, name });
  const kept = labels === undefined ? undefined : labelsOf(packed, labels, vocabularySize);
  const supervised = [...(kept ?? []).entries()].filter(([, label]) => label !== IGNORED);
  return {
    ...packed,
    source,
    labels: kept,
    supervised: Int32Array.from(supervised, ([at]) => at),
    supervisedLabels: Int32Array.from(supervised, ([, label]) => label),
  };
}

/** What each token of the decoder has to predict. */
function labelsOf({ paddedIndex, padded }: PackedTokens, labels: Rows, vocabularySize: number): Int32Array {
  return Int32Array.from(paddedIndex, (at) => {
    const row = Math.floor(at / padded);
    // An empty row has a start and no label.
    const label = Number(labels[row]![at % padded] ?? IGNORED);
    if (label !== IGNORED) checkLabel(label, row, vocabularySize);
    return label;
  });
}
