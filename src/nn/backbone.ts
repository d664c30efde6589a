import type { HostTensor } from "../base/host-tensor.js";
import type { Value } from "../graph/value.js";
import type { Embedding } from "./embedding.js";
import type { Module } from "./module.js";
import type { Stage, TokenBatch } from "./stage.js";
import type { Trace } from "./trace.js";

/** The body of a model: everything below its heads. It leaves its result in the stream `hidden`. */
export interface Backbone extends Module {
  /** Width of the hidden states. */
  readonly width: number;
  readonly stages: readonly Stage[];
  /** Keys and values may be kept while rows are no longer than this. */
  readonly cacheLimit: number;
  /** The table of word embeddings, which a head may share; that of the source, where the body reads one. */
  wordEmbeddings(): Embedding;
  /** The table that answers are read with, where the body reads a source beside them. */
  answerEmbeddings?(): Embedding;
  /** What heads read of hidden rows (R, D): the last norm, where the body ends with one. */
  finish(t: Trace, hidden: Value): Value;
  /** What the body makes of the first token of each row (R, D), where it has a pooler. */
  readonly pool?: ((t: Trace, hidden: Value) => Value) | undefined;
  batchTensors(batch: TokenBatch): Readonly<Record<string, HostTensor>>;
}
