import type { Value } from "../graph/value.js";
import type { HostTensor } from "../base/host-tensor.js";
import type { Embedding } from "./embedding.js";
import type { Trace } from "./trace.js";

/** Which tokens a stage runs over: those of the batch, or those of the source that its rows answer to. */
export type Over = "batch" | "source";

/**
 * What is added to attention scores by the distance of key and query: a row of a table (buckets, heads), which an earlier stage
 * leaves in a stream.
 */
export interface RelativeBias {
  readonly stream: string;
  readonly buckets: number;
  /** Row of the table for a key that stands so many positions behind the query; before it: negative. */
  bucket(offset: number): number;
}

/**
 * Work on token rows: runs once over all tokens of a batch, (N, width), with no padding.
 * Streams are the named activations that pass between stages.
 */
export interface TokenStage {
  readonly kind: "tokens";
  /** Path of the part of the model it computes, for profiles. */
  readonly name: string;
  /** Streams it reads and writes, with their widths. Writing a stream it reads makes a new version. */
  readonly reads: Readonly<Record<string, number>>;
  readonly writes: Readonly<Record<string, number>>;
  /** @defaultValue "batch" */
  readonly over?: Over | undefined;
  /** Rows of what it writes, where these are not the tokens of the batch. */
  readonly rows?: number;
  trace(t: Trace, streams: Readonly<Record<string, Value>>): Readonly<Record<string, Value>>;
}

/**
 * Attention of every row of the batch over its own tokens, or over those of its source: reads the streams `query` (heads · d), `key` and `value`
 * (keyValueHeads · d), writes `context` (heads · d). Runs a row and a tile of queries at a time, so nothing is padded and
 * no tensor of T × T for a whole row exists.
 */
export interface AttentionStage {
  readonly kind: "attention";
  readonly name: string;
  /** Number of the layer: its place in the key/value cache. */
  readonly layer: number;
  /** Whose tokens ask. @defaultValue "batch" */
  readonly over?: Over | undefined;
  /** Whose tokens keys and values are made of; those that ask unless said otherwise. */
  readonly keysOver?: Over | undefined;
  readonly heads: number;
  readonly keyValueHeads: number;
  readonly headDim: number;
  /** Factor on query · key. */
  readonly scale: number;
  /** Scores are bent down to this: cap · tanh(score / cap). */
  readonly cap?: number | undefined;
  /** Tokens see themselves and what came before. */
  readonly causal: boolean;
  /** Tokens see this many positions, themselves included. */
  readonly window?: number | undefined;
  readonly bias?: RelativeBias | undefined;
}

export type Stage = TokenStage | AttentionStage;

/** The rows of a batch without padding: tokens of row i are rowOffsets[i] … rowOffsets[i + 1] − 1. */
export interface TokenBatch {
  readonly tokens: Int32Array;
  readonly rowOffsets: Int32Array;
  /** Position of each token in its row. */
  readonly positions: Int32Array;
  /** Which part of a pair each token belongs to; all to the first where absent. */
  readonly tokenTypes?: Int32Array | undefined;
  /** Number of the task of each row, for adapters that have tasks. */
  readonly taskIds?: Int32Array | undefined;
  /** What each row answers to, where that is read apart; of as many rows. */
  readonly source?: TokenBatch | undefined;
}

/** The tokens that a stage runs over; undefined where the batch has no source. */
export const tokensOver = (batch: TokenBatch, over: Over | undefined): TokenBatch | undefined =>
  over === "source" ? batch.source : batch;

/** A model as the runner sees it. */
export interface StagedModel {
  readonly stages: readonly Stage[];
  /** The table of the tokens, for adapters that put virtual tokens before them; that of the source, where there is one. */
  readonly inputEmbedding?: Embedding;
  /** The table of the tokens of answers, where the other is that of a source. */
  readonly answerEmbedding?: Embedding | undefined;
  /** Streams that the stages leave for the head, with the width of each. */
  readonly hidden: { readonly stream: string; readonly width: number };
  /**
   * Keys and values may be kept while rows are no longer than this. Beyond it positions are turned anew for every length, so
   * rows have to be run as a whole and one by one.
   */
  readonly cacheLimit: number;
  /** Attribute that holds the body, as in the names of checkpoints; empty where the model is the body itself. */
  readonly prefix: string;
  /** Attributes that belong to the head. */
  readonly headNames: readonly string[];
  /** Which hidden states the head reads. */
  readonly reads: "each" | "first" | "last";
  /** What the body makes of the first token of each row (R, D), where it has a pooler. */
  readonly pool?: ((t: Trace, hidden: Value) => Value) | undefined;
  /** Scores (R, V) of hidden rows (R, D). */
  head(t: Trace, hidden: Value): Value;
  /** Tensors that all stages share for this batch, by the names they ask for. */
  batchTensors(batch: TokenBatch): Readonly<Record<string, HostTensor>>;
}
