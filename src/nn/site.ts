import type { Value } from "../graph/value.js";
import type { OpTable } from "../ops/op.js";
import type { Module } from "./module.js";
import type { Parameter } from "./parameter.js";
import type { Over } from "./stage.js";

/** y = x Wᵀ + b. Shapes: x (N, in), W (out, in), b (out). */
export interface LinearSite {
  readonly kind: "linear";
  readonly module: Module;
  readonly inFeatures: number;
  readonly outFeatures: number;
  /** The stored weight; a module may keep it (in, out), which its `transposed` says. `weightData` reads it as (out, in). */
  readonly weight: Parameter;
  readonly bias: Parameter | undefined;
}

/** The weight of a linear site as float32 rows (out, in), however it is kept; a copy where it had to be turned or cast. */
export function weightData({ module, weight, inFeatures, outFeatures }: LinearSite): Float32Array {
  const stored = weight.data;
  if (!module.transposed.includes("weight")) return stored;
  const turned = new Float32Array(stored.length);
  for (let i = 0; i < inFeatures; i += 1)
    for (let o = 0; o < outFeatures; o += 1) turned[o * inFeatures + i] = stored[i * outFeatures + o]!;
  return turned;
}

/** Rows of a table: y = W[ids]. Shapes: ids (N), W (V, D). */
export interface EmbeddingSite {
  readonly kind: "embedding";
  readonly module: Module;
  readonly vocabularySize: number;
  readonly width: number;
  readonly weight: Parameter;
}

/** Sizes of one self-attention layer. */
export interface AttentionSizes {
  readonly heads: number;
  readonly keyValueHeads: number;
  readonly headDim: number;
}

/** The model as a whole: virtual tokens go before its embedded tokens or before the keys and values of its layers. */
export interface ModelSite {
  readonly kind: "model";
  /** The table of the tokens: virtual ones hang on it. It is that of the source, where an encoder reads one. */
  readonly module: Module;
  /** The tables of all the tokens that the model reads, the source first where there is one. */
  readonly stacks: readonly { readonly over: Over; readonly module: Module }[];
  readonly vocabularySize: number;
  readonly width: number;
  readonly weight: Parameter;
  /** What the rows of the table are multiplied by when they are read. */
  readonly scale: number;
  /** The self-attention layers that can take keys and values, in order: those of the decoder beside an encoder. */
  readonly layers: readonly AttentionSizes[];
  /** The layers that adapter files state: those of the encoder, where there is one. */
  readonly numLayers: number;
}

/** A module with all parameters that are its own attributes, by name. */
export interface WholeSite {
  readonly kind: "module";
  readonly module: Module;
  readonly parameters: ReadonlyMap<string, Parameter>;
}

/** The bias of a module. */
export interface BiasSite {
  readonly kind: "bias";
  readonly module: Module;
  readonly bias: Parameter;
}

/** What a model says of a module whose result goes into the residual stream: y = norm(h + r), or h + r where no norm follows. */
export interface Block {
  /** The part of a layer it is: its attention, that over a source, or what follows them. */
  readonly position: "attention" | "cross" | "output";
  /** Number of the layer; those of a decoder are counted behind those of its encoder. */
  readonly layer: number;
  readonly width: number;
  /** Whether a norm follows the sum. */
  readonly normed: boolean;
  /** Name of the module beside it that AdapterHub keeps its adapters in; it is this module itself where absent. */
  readonly slot?: string;
}

/** Where a part of a layer is added to the residual stream. Shapes: h, r and y (N, width). */
export interface BlockSite extends Block {
  readonly kind: "block";
  readonly module: Module;
}

/** A place at a single module. */
export type ModuleSite = LinearSite | EmbeddingSite;

/** A place of a model that an adapter can hold on to. */
export type Site = ModuleSite | BlockSite | WholeSite | BiasSite | ModelSite;

export type SiteKind = Site["kind"];

/** What an adapter's forward gets at its site. */
export interface AdaptContext {
  readonly f: OpTable;
  /** The input of the module: rows (N, in) for a linear layer, int64 ids (N) for an embedding. */
  readonly x: Value;
  /** The module without this adapter. */
  base(x: Value): Value;
  /** A parameter of the adapter, as float32; integers stay what they are. */
  p(parameter: Parameter): Value;
  /** One of the module's own parameters by attribute name, as float32, with what stands in for it. */
  own(name: string): Value;
  /** x with a share p of its elements dropped while training; x itself otherwise. */
  dropout(x: Value, p: number): Value;
  /**
   * While training, 1 or 0 for each of `count` things, 0 with probability p, the same for all rows of the batch: (1, count).
   * Undefined otherwise.
   */
  keep(count: number, p: number): Value | undefined;
}

/** What an adapter gets where a part of a layer is added to the residual stream. */
export interface JoinContext extends Pick<AdaptContext, "f" | "p" | "dropout"> {
  /** What the part of the layer computed: (N, width). */
  readonly h: Value;
  /** The residual stream, which the sum goes to: (N, width). */
  readonly r: Value;
  /** The norm that follows the sum, where there is one. */
  readonly norm: ((x: Value) => Value) | undefined;
  /** What is done without this adapter: norm(h + r), or h + r. */
  base(h: Value): Value;
}

/** What a replacement of a parameter gets: the parameter it stands in for, as float32. */
export interface ReplaceContext {
  readonly f: OpTable;
  readonly base: Value;
  p(parameter: Parameter): Value;
}

/** Makes the value that stands in for one of a module's own parameters. */
export type Replacement = (context: ReplaceContext) => Value;

/** What an adapter's merge gets. */
export interface MergeContext {
  readonly f: OpTable;
  /** One of the module's own parameters by attribute name, as float32. The weight of a linear layer is (out, in). */
  own(name: string): Value;
  p(parameter: Parameter): Value;
}

/** What the graph of virtual tokens gets. */
export interface VirtualContext {
  readonly f: OpTable;
  /** A parameter of the adapter, as float32. */
  p(parameter: Parameter): Value;
  /** Numbers of the tasks of the rows of the batch, int64 (B). */
  tasks(): Value;
  /** Rows of virtual tokens (n, width) with a share p of their elements dropped while training. */
  dropout(x: Value, p: number): Value;
}

/** Tokens that are in no batch: an adapter puts `count` of them before every row. */
export type VirtualTokens =
  | {
      readonly into: "input";
      readonly count: number;
      /** Which tokens they stand before; the table has n rows for each of `stacks`, in order. */
      readonly over: readonly Over[];
      /** Stacks that the table holds rows for, whether they are used or not. */
      readonly stacks: number;
      /** Number of tasks, where the virtual tokens of a row depend on its task. */
      readonly tasks?: number;
      /** Embedded virtual tokens: (stacks · n, D), or (B · stacks · n, D) where there are tasks. */
      rows(context: VirtualContext): Value;
    }
  | {
      readonly into: "keysAndValues";
      readonly count: number;
      /** Keys and values of the virtual tokens in every layer, (n, K d) each. */
      layers(context: VirtualContext): readonly { readonly key: Value; readonly value: Value }[];
    };

/** What a penalty gets. */
export interface PenaltyContext {
  readonly f: OpTable;
  p(parameter: Parameter): Value;
}

/** An adapter at one module. */
export interface Attachment {
  readonly adapter: string;
  active: boolean;
  /** The module with this adapter around it. */
  forward?(context: AdaptContext): Value;
  /** What goes into the residual stream where the module's result is added to it. */
  join?(context: JoinContext): Value;
  /** What stands in for the module's own parameters while the adapter is active, by attribute name. Merging puts it in their place. */
  readonly replaces?: Readonly<Record<string, Replacement>>;
  /** Parameters that stand in for the module's own while the adapter is active, kept as the module keeps those, by attribute name. */
  readonly standsIn?: Readonly<Record<string, Parameter>>;
  /**
   * Sets the trained tensors so that the module with this adapter comes as near as it can to another weight (out, in).
   *
   * @returns what takes that back.
   */
  fitTo?(this: void, weight: Float32Array): () => void;
  /** Virtual tokens before every row. */
  readonly virtual?: VirtualTokens;
  /** The module's own parameters that do the same as `forward` without the adapter, by name; absent where there are none. */
  merged?(context: MergeContext): Readonly<Record<string, Value>>;
  /** A number (a value of shape ()) that is added to the loss of every optimiser step. */
  penalty?(context: PenaltyContext): Value;
}
