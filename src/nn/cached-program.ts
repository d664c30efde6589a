import type { Graph, Value } from "../graph/value.js";
import { besides } from "../ops/op.js";
import { rotary } from "../ops/rotary.js";
import type { LanguageHead } from "./language-head.js";
import type { Runner } from "./runner.js";
import type { Parameter } from "./parameter.js";
import { halfWeight } from "./step-machine.js";
import type { AttentionStage, Stage, StagedModel } from "./stage.js";
import type { BoundGraph } from "./token-program.js";
import { type Leaf, type Products, ROWS, Trace } from "./trace.js";
import { virtualReads, virtualTokensOf, stagesWithVirtual, takesVirtual } from "./virtual-tokens.js";

/** Heads that the keys and values of a layer are made of. */
export interface CachedLayer {
  readonly layer: number;
  readonly keyValueHeads: number;
  readonly headDim: number;
}

/** A part of a model as one graph over new tokens and a cache of what came before. */
export interface CachedSegment {
  /** Layers whose keys and values it reads and extends. */
  readonly layers: readonly CachedLayer[];
  /** Streams that the next segment reads, with their widths; scores (R, V) of the last one. */
  readonly writes: readonly (readonly [stream: string, width: number])[];
  /** Outputs: what it writes, then keys and values of every layer with the new tokens, (B, K, C, d). */
  readonly bound: BoundGraph;
}

/** All of a model over new tokens and a cache of what came before. */
export interface CachedProgram {
  readonly segments: readonly CachedSegment[];
  readonly layers: readonly CachedLayer[];
  /** Gives the virtual keys and values of every layer, (n, K d), where rows begin with such. */
  readonly virtual: BoundGraph | undefined;
}

/** Names of what a cached graph reads beside the tensors of the model. */
export const cachedNames = {
  keys: (layer: number): string => `cached_keys.${layer}`,
  values: (layer: number): string => `cached_values.${layer}`,
  last: "cached_last",
  total: "cached_total",
  layout: "cached_layout",
  rows: "cached_rows",
} as const;

/** Attention that the graph has a kernel for. */
const isCacheable = ({ causal, bias, headDim, ...stage }: AttentionStage): boolean =>
  causal && bias === undefined && headDim % 8 === 0 && takesVirtual(stage as AttentionStage);

/** Whether a model can be run this way: memory without a limit, an engine that writes a cache in place, attention over own tokens. */
function canRun({ model, engine, options }: Runner): boolean {
  if (!engine.capabilities.sharedMemory || options.memoryBytes !== undefined) return false;
  return (
    model.reads === "each" &&
    model.stages.every((stage) => stage.kind === "tokens" || isCacheable(stage)) &&
    model.stages.every(({ over = "batch" }) => over === "batch")
  );
}

/** Inputs and sources of a graph from what its traces have asked for. */
function bind(name: string, leaves: ReadonlyMap<Value, Leaf>, outputs: readonly Value[]): BoundGraph {
  const graph: Graph = { name, inputs: [...leaves.keys()], outputs };
  return { graph, sources: [...leaves.values()] };
}

/** The graph of what stands before the tokens of every row. */
function virtualGraph(stage: Stage | undefined, layers: readonly AttentionStage[]): BoundGraph | undefined {
  if (stage?.kind !== "tokens") return undefined;
  const t = new Trace();
  const written = stage.trace(t, {});
  const names = layers
    .map(virtualReads)
    .flatMap(({ virtualKey, virtualValue }) => [virtualKey, virtualValue]);
  return bind(
    "virtual keys and values",
    t.leaves,
    names.map((name) => written[name]!),
  );
}

/** Bytes of weights in blocks after which a graph ends: while one is compiled, they are there several times. */
const SEGMENT_BYTES = 16 * 2 ** 20;

/** Streams that stages read and do not write before, with their widths. */
function openReads(stages: readonly Stage[]): Map<string, number> {
  const written = new Set<string>();
  const open = new Map<string, number>();
  for (const stage of stages) {
    if (stage.kind === "attention") {
      written.add("context");
      continue;
    }
    for (const [name, width] of Object.entries(stage.reads)) if (!written.has(name)) open.set(name, width);
    for (const name of Object.keys(stage.writes)) written.add(name);
  }
  return open;
}

const blockBytes = (leaves: Iterable<Leaf>): number => {
  const parameters = new Set<Parameter>();
  for (const leaf of leaves)
    if (leaf.kind === "packed") for (const one of leaf.parameters) parameters.add(one);
  return [...parameters].reduce((sum, { size }) => sum + size / 2, 0);
};

/** A segment that grows stage by stage. */
class SegmentDraft {
  readonly t: Trace;
  readonly layers: AttentionStage[] = [];
  readonly #caches: Value[] = [];
  readonly #streams: Record<string, Value> = {};

  constructor(products: Products, reads: ReadonlyMap<string, number>) {
    this.t = new Trace({ products });
    for (const [name, width] of reads) this.#streams[name] = this.t.stream(name, width);
  }

  add(stage: Stage): void {
    if (stage.kind === "tokens") Object.assign(this.#streams, stage.trace(this.t, this.#streams));
    else this.#streams["context"] = this.#attend(stage);
  }

  #attend(stage: AttentionStage): Value {
    const { t } = this;
    const { layer, heads, keyValueHeads, headDim, scale, cap, window } = stage;
    const cache = (name: string): Value =>
      t.batch(name, { dtype: "float32", shape: [ROWS, keyValueHeads, "C", headDim] });
    const [query, key, value] = ["query", "key", "value"].map((name) => this.#streams[name]!) as [
      Value,
      Value,
      Value,
    ];
    const rest = [
      cache(cachedNames.keys(layer)),
      cache(cachedNames.values(layer)),
      t.batch(cachedNames.last, { dtype: "int32", shape: [ROWS] }),
      t.batch(cachedNames.total, { dtype: "int32", shape: [1] }),
      t.batch(cachedNames.layout, { dtype: "int64", shape: [3] }),
    ] as const;
    const attrs = { heads, keyValueHeads, scale, cap, window };
    const turns = headDim % 16 === 0 ? this.#turns(query, key) : undefined;
    const context =
      turns === undefined
        ? t.f.cachedAttention(query, key, value, ...rest, attrs)
        : t.f.cachedRotaryAttention(turns.query, turns.key, value, ...rest, turns.cos, turns.sin, attrs);
    this.#caches.push(...besides(context));
    this.layers.push(stage);
    return context;
  }

  /** Queries and keys before they are turned by their positions, where that is the last thing done to them: attention can do it on the way. */
  #turns(query: Value, key: Value): Record<"query" | "key" | "cos" | "sin", Value> | undefined {
    const [a, b] = [query.node, key.node];
    const turned = [a, b].every((node) => (node?.op as unknown) === rotary.definition);
    if (!turned || a === undefined || b === undefined) return undefined;
    const [x, cos, sin, positions] = a.inputs as [Value, Value, Value, Value];
    const leaf = this.t.leaves.get(positions);
    // Tokens are put into the cache in the order of their positions.
    const ordered = leaf?.kind === "batch" && leaf.name === "positions";
    if (!ordered || a.inputs.some((input, i) => i > 0 && input !== b.inputs[i])) return undefined;
    return { query: x, key: b.inputs[0]!, cos, sin };
  }

  /** Scores of the last tokens of the rows, in the place of the streams. */
  scores(model: StagedModel, products: Products): { readonly value: Value; readonly top: Trace } {
    const rows = this.t.batch(cachedNames.rows, { dtype: "int64", shape: [ROWS] });
    const hidden = this.t.f.gather(this.#streams[model.hidden.stream]!, rows);
    const top = new Trace({ products });
    return { value: model.head(top, hidden), top };
  }

  end(
    writes: CachedSegment["writes"],
    scores?: { readonly value: Value; readonly top: Trace },
  ): CachedSegment {
    const results = scores === undefined ? writes.map(([name]) => this.#streams[name]!) : [scores.value];
    const leaves = new Map([...this.t.leaves, ...(scores?.top.leaves ?? [])]);
    const bound = bind("model", leaves, [...results, ...this.#caches]);
    return { layers: this.layers, writes, bound: { ...bound, spins: true } };
  }
}

/** How a model is made into graphs. */
export interface CachedOptions {
  /** Bytes of weights in blocks after which a graph ends. */
  readonly segmentBytes?: number | undefined;
  /** How products are computed, and those of the head. */
  readonly products?: Products;
  readonly headProducts?: Products;
}

/** How steps compute products: with 16 bits for what weights in blocks are multiplied with, whatever the arithmetic. */
const STEP_PRODUCTS: Products = { packed: true, steps: true };

/**
 * All of a model as one graph that small steps are made from; undefined where its program has no weights in blocks and, in float32
 * arithmetic, none of 16 bits: from float32 weights both ways read the same.
 */
function stepGraph(
  runner: Runner,
  head: LanguageHead,
  { segments }: CachedProgram,
): CachedSegment | undefined {
  const halves = runner.options.arithmetic !== "int8";
  const gains = segments.some(({ bound }) =>
    bound.sources.some((source) => source.kind === "packed" || (halves && halfWeight(source) !== undefined)),
  );
  if (!gains || runner.engine.openCrew === undefined) return undefined;
  const options = { segmentBytes: Infinity, products: STEP_PRODUCTS, headProducts: STEP_PRODUCTS };
  return cachedProgram(runner, head, options)?.segments[0];
}

/**
 * The program of a model in the state it is in; undefined where it has to be run stage by stage.
 *
 * A few graphs instead of one for each part of a layer: what runs between two products of a single token is handing over alone.
 */
export function cachedProgram(
  runner: Runner,
  head: LanguageHead,
  {
    segmentBytes = SEGMENT_BYTES,
    products = runner.products,
    headProducts = head.products,
  }: CachedOptions = {},
): CachedProgram | undefined {
  if (!canRun(runner)) return undefined;
  const { model } = runner;
  const { stages } = model;
  const segments: CachedSegment[] = [];
  let draft = new SegmentDraft(products, new Map());
  for (const [i, stage] of stages.entries()) {
    if (stage.kind === "tokens" && blockBytes(draft.t.leaves.values()) > segmentBytes) {
      const open = openReads(stages.slice(i));
      segments.push(draft.end([...open]));
      draft = new SegmentDraft(products, open);
    }
    draft.add(stage);
  }
  const scores = draft.scores(model, headProducts);
  segments.push(draft.end([["scores", scores.value.type.shape[1] as number]], scores));
  // What is decoded anew for every use would all be there at once.
  const sources = segments.flatMap(({ bound }) => bound.sources);
  if (sources.some((source) => source.kind === "parameter" && source.parameter.transient)) return undefined;
  const layers = stages.filter((stage) => stage.kind === "attention");
  const prefixed = virtualTokensOf(model)?.into === "keysAndValues";
  return {
    segments,
    layers,
    virtual: prefixed ? virtualGraph(stagesWithVirtual(model)[0], layers) : undefined,
  };
}

/** The cached programs of a model, as its products are computed. */
export class CachedPrograms {
  readonly #programs = new Map<string, CachedProgram | undefined>();
  #steps: { readonly segment: CachedSegment | undefined } | undefined;

  constructor(
    readonly runner: Runner,
    readonly head: LanguageHead,
    readonly options: { readonly segmentBytes?: number | undefined; readonly inSteps?: boolean } = {},
  ) {}

  /** Must be called when adapters come, go, or change what is trained. */
  invalidate(): void {
    this.#programs.clear();
    this.#steps = undefined;
  }

  /** The program of the model as it is now; undefined where it has to be run stage by stage. */
  get current(): CachedProgram | undefined {
    const key = JSON.stringify(this.runner.products);
    if (!this.#programs.has(key))
      this.#programs.set(key, cachedProgram(this.runner, this.head, this.options));
    return this.#programs.get(key);
  }

  /** The model as it is now as one graph for small steps; undefined where the runtime has to do. */
  get steps(): CachedSegment | undefined {
    const { current } = this;
    if (current === undefined || this.runner.products.packed !== true || this.options.inSteps === false)
      return undefined;
    this.#steps ??= { segment: stepGraph(this.runner, this.head, current) };
    return this.#steps.segment;
  }
}
