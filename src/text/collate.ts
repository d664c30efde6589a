import { ShapeError } from "../base/errors.js";
import { type EncodedExample, IGNORED } from "./encode-example.js";
import { taskIdsOf } from "./task-ids.js";

/** Rows of numbers: nested arrays, or typed arrays. */
export type Rows = readonly (ArrayLike<number> | readonly number[])[];

/** Tokens as Hugging Face writes them; rows may be padded on either side, or ragged without a mask. */
export interface TokenInputs {
  readonly inputIds: Rows;
  /** 1 for tokens, 0 for padding. */
  readonly attentionMask?: Rows | undefined;
  readonly positionIds?: Rows | undefined;
  /** 0 for the first text of a pair, 1 for the second. */
  readonly tokenTypeIds?: Rows | undefined;
  /** Number of the task of each row, for adapters that have tasks. */
  readonly taskIds?: ArrayLike<number> | undefined;
}

/** A batch for a language model or a classifier of tokens. */
export interface Batch extends TokenInputs {
  /** Token ids to predict, or classes of tokens; −100 where nothing is learnt; not shifted. */
  readonly labels?: Rows | undefined;
}

/** A batch for any task. */
export interface TaskBatch extends TokenInputs {
  /** Tokens or classes of tokens (B, T); classes or numbers of texts (B), or several of each (B, C). */
  readonly labels?: Rows | ArrayLike<number> | undefined;
  /** Columns where answers start and end. */
  readonly startPositions?: ArrayLike<number> | undefined;
  readonly endPositions?: ArrayLike<number> | undefined;
  /** What a decoder reads, where labels shifted to the right are not it; labels then go with it column by column. */
  readonly decoderInputIds?: Rows | undefined;
  readonly decoderAttentionMask?: Rows | undefined;
}

/** Tokens without padding. */
export interface PackedTokens {
  readonly rows: number;
  /** Length of a padded row. */
  readonly padded: number;
  readonly tokens: Int32Array;
  readonly rowOffsets: Int32Array;
  readonly positions: Int32Array;
  readonly tokenTypes?: Int32Array | undefined;
  /** Number of the task of each row, where the batch says it. */
  readonly taskIds?: Int32Array | undefined;
  /** Place of each token in the padded batch, row · padded + column. */
  readonly paddedIndex: Int32Array;
  /** What each row answers to, where an encoder reads it. */
  readonly source?: PackedTokens | undefined;
}

/** Tokens without padding, each with its label where the batch has one for each. */
export interface LabelledTokens extends PackedTokens {
  readonly labels?: Int32Array | undefined;
}

/** A batch without padding, with what the head has to predict. */
export interface PackedBatch extends LabelledTokens {
  /** Labels of the tokens, where the batch has any. */
  readonly labels: Int32Array | undefined;
  /** Tokens whose next token is to be predicted, and what it is. */
  readonly supervised: Int32Array;
  readonly supervisedLabels: Int32Array;
}

export interface PackOptions {
  readonly vocabularySize?: number;
  /** Longest row. */
  readonly maxLength?: number;
  /** What the tokens are called in messages. @defaultValue "inputIds" */
  readonly name?: string;
}

export function fault(code: string, summary: string, fields: Readonly<Record<string, unknown>>): ShapeError {
  return new ShapeError({ code, summary, fields });
}

function checkRow(name: string, tokens: string, row: ArrayLike<number>, length: number, index: number): void {
  if (row.length === length) return;
  throw fault(
    "batch_shape",
    `${name}: row ${index} has ${row.length} entries; ${tokens} has ${length} there.`,
    {
      name,
      row: index,
    },
  );
}

function checkToken(name: string, id: number, row: number, column: number, size: number): void {
  if (Number.isInteger(id) && id >= 0 && id < size) return;
  const range = size === Infinity ? "a whole number, 0 or more" : `a whole number from 0 to ${size - 1}`;
  throw fault("token_id", `${name}: entry ${column} of row ${row} is ${id}; ${range} was expected.`, {
    row,
    column,
    id,
  });
}

/** Everything that goes with the tokens has their shape. */
export function checkRows(
  named: Readonly<Record<string, Rows | undefined>>,
  inputIds: Rows,
  tokens = "inputIds",
): void {
  for (const [name, rows] of Object.entries(named)) {
    if (rows === undefined) continue;
    if (rows.length !== inputIds.length)
      throw fault("batch_shape", `${name} has ${rows.length} rows; ${tokens} has ${inputIds.length}.`, {
        name,
      });
    for (const [b, row] of rows.entries()) checkRow(name, tokens, row, inputIds[b]!.length, b);
  }
}

/**
 * Drops the padding of tokens.
 *
 * @throws {@link ShapeError} `batch_shape`, `token_id`, `row_empty` or `row_too_long`, naming the row
 */
export function packTokens(batch: TokenInputs, options: PackOptions = {}): PackedTokens {
  const { inputIds, attentionMask, positionIds, tokenTypeIds, taskIds } = batch;
  const { vocabularySize = Infinity, maxLength = Infinity, name = "inputIds" } = options;
  checkRows({ attentionMask, positionIds, tokenTypeIds }, inputIds, name);
  if (taskIds !== undefined && taskIds.length !== inputIds.length) {
    throw fault(
      "batch_shape",
      `taskIds has ${taskIds.length} entries; inputIds has ${inputIds.length} rows.`,
      {
        name: "taskIds",
      },
    );
  }
  if (inputIds.length === 0) throw fault("batch_shape", "The batch has no rows.", {});
  const padded = inputIds.reduce((most, row) => Math.max(most, row.length), 0);
  const tokens: number[] = [];
  const positions: number[] = [];
  const types: number[] = [];
  const paddedIndex: number[] = [];
  const offsets = [0];
  for (const [b, row] of inputIds.entries()) {
    const mask = attentionMask?.[b];
    const start = tokens.length;
    for (let t = 0; t < row.length; t += 1) {
      if (mask !== undefined && Number(mask[t]) === 0) continue;
      const id = Number(row[t]);
      checkToken(name, id, b, t, vocabularySize);
      positions.push(positionIds === undefined ? tokens.length - start : Number(positionIds[b]![t]));
      types.push(Number(tokenTypeIds?.[b]?.[t] ?? 0));
      tokens.push(id);
      paddedIndex.push(b * padded + t);
    }
    const length = tokens.length - start;
    if (length === 0) throw fault("row_empty", `Row ${b} of the batch has no token.`, { row: b });
    if (length > maxLength) {
      throw fault("row_too_long", `Row ${b} has ${length} tokens; the model takes ${maxLength} at most.`, {
        row: b,
        length,
        maxLength,
      });
    }
    offsets.push(tokens.length);
  }
  return {
    rows: inputIds.length,
    padded,
    tokens: Int32Array.from(tokens),
    rowOffsets: Int32Array.from(offsets),
    positions: Int32Array.from(positions),
    ...(tokenTypeIds === undefined ? {} : { tokenTypes: Int32Array.from(types) }),
    ...(taskIds === undefined ? {} : { taskIds: Int32Array.from(taskIds) }),
    paddedIndex: Int32Array.from(paddedIndex),
  };
}

/** Labels of the tokens of a packed batch; −100 where the batch has none. */
export function tokenLabels(packed: PackedTokens, inputIds: Rows, labels: Rows | undefined): number[] {
  checkRows({ labels }, inputIds);
  return Array.from(packed.paddedIndex, (at) =>
    labels === undefined ? IGNORED : Number(labels[Math.floor(at / packed.padded)]![at % packed.padded]),
  );
}

/**
 * Drops the padding of a batch and finds what each token has to predict.
 *
 * @throws {@link ShapeError} as `packTokens` does, and `label`
 */
export function packBatch(batch: Batch, options: PackOptions = {}): PackedBatch {
  const packed = packTokens(batch, options);
  const kept = tokenLabels(packed, batch.inputIds, batch.labels);
  return {
    ...packed,
    labels: batch.labels === undefined ? undefined : Int32Array.from(kept),
    ...targets(packed.rowOffsets, kept, options.vocabularySize ?? Infinity),
  };
}

/**
 * The same where labels stand at the tokens that are to be found, as in masked language models.
 *
 * @throws {@link ShapeError} as `packBatch` does
 */
export function packMasked(batch: Batch, options: PackOptions = {}): PackedBatch {
  const { labels, inputIds } = batch;
  const packed = packTokens(batch, options);
  if (labels === undefined)
    return {
      ...packed,
      labels: undefined,
      supervised: new Int32Array(0),
      supervisedLabels: new Int32Array(0),
    };
  const kept = tokenLabels(packed, inputIds, labels);
  const found = [...kept.entries()].filter(([, label]) => label !== IGNORED);
  for (const [at, label] of found) {
    const row = Math.floor(packed.paddedIndex[at]! / packed.padded);
    checkLabel(label, row, options.vocabularySize ?? Infinity);
  }
  return {
    ...packed,
    labels: Int32Array.from(kept),
    supervised: Int32Array.from(found, ([at]) => at),
    supervisedLabels: Int32Array.from(found, ([, label]) => label),
  };
}

/** A label is a token, where it is not ignored. */
export function checkLabel(label: number, row: number, vocabularySize: number): void {
  if (Number.isInteger(label) && label >= 0 && label < vocabularySize) return;
  throw fault("label", `labels: row ${row} holds ${label}, which is neither a token id nor −100.`, {
    row,
    label,
  });
}

/** Each token predicts the next one of its row. */
function targets(
  rowOffsets: Int32Array,
  labels: readonly number[],
  vocabularySize: number,
): { supervised: Int32Array; supervisedLabels: Int32Array } {
  const supervised: number[] = [];
  const supervisedLabels: number[] = [];
  for (let b = 0; b + 1 < rowOffsets.length; b += 1) {
    for (let i = rowOffsets[b]!; i < rowOffsets[b + 1]!; i += 1) {
      const label = labels[i]!;
      if (label === IGNORED) continue;
      checkLabel(label, b, vocabularySize);
      // Nothing stands before the first token of a row that would predict it.
      if (i === rowOffsets[b]) continue;
      supervised.push(i - 1);
      supervisedLabels.push(label);
    }
  }
  return { supervised: Int32Array.from(supervised), supervisedLabels: Int32Array.from(supervisedLabels) };
}

/** Examples as a batch; rows keep their own lengths. */
export function collate(examples: readonly EncodedExample[]): Batch & { readonly labels: Rows } {
  return {
    inputIds: examples.map(({ inputIds }) => inputIds),
    labels: examples.map(({ labels }) => labels),
    ...taskIdsOf(examples),
  };
}
