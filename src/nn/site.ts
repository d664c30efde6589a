import type { Value } from "../graph/value.js";
import type { OpTable } from "../ops/op.js";
import type { Module } from "./module.js";
import type { Parameter } from "./parameter.js";

/** y = x Wᵀ + b. Shapes: x (N, in), W (out, in), b (out). */
export interface LinearSite {
  readonly kind: "linear";
  readonly module: Module;
  readonly inFeatures: number;
  readonly outFeatures: number;
  readonly weight: Parameter;
  readonly bias: Parameter | undefined;
}

/** Rows of a table: y = W[ids]. Shapes: ids (N), W (V, D). */
export interface EmbeddingSite {
  readonly kind: "embedding";
  readonly module: Module;
  readonly vocabularySize: number;
  readonly width: number;
  readonly weight: Parameter;
}

/** A place of a model that an adapter can hold on to. */
export type Site = LinearSite | EmbeddingSite;

export type SiteKind = Site["kind"];

/** What an adapter's forward gets at its site. */
export interface AdaptContext {
  readonly f: OpTable;
  /** The input of the module: rows (N, in) for a linear layer, int64 ids (N) for an embedding. */
  readonly x: Value;
  /** The module without this adapter. */
  base(x: Value): Value;
  /** A parameter of the adapter, as float32. */
  p(parameter: Parameter): Value;
  /** x with a share p of its elements dropped while training; x itself otherwise. */
  dropout(x: Value, p: number): Value;
}

/** What an adapter's merge gets: the weight it is added to, as float32. */
export interface MergeContext {
  readonly f: OpTable;
  readonly weight: Value;
  p(parameter: Parameter): Value;
}

/** An adapter at one site. */
export interface Attachment {
  readonly adapter: string;
  active: boolean;
  forward(context: AdaptContext): Value;
  /** The weight that does the same without the adapter; absent where there is none. */
  merged?(context: MergeContext): Value;
}
