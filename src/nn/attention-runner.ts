import type { RunOptions, Session } from "../runtime/engine.js";
import { type HostTensor, hostTensor } from "../base/host-tensor.js";
import { attentionGraphs } from "./attention-program.js";
import { rowsOf } from "./buffer-pool.js";
import type { KeyValueCache } from "./key-value-cache.js";
import type { SessionCache } from "./session-cache.js";
import type { AttentionStage, TokenBatch } from "./stage.js";

/** Queries of one tile: enough for the matrix product to be efficient, few enough to skip most of the masked half. */
const TILE = 256;

interface Tile {
  /** Queries of the tile, counted over the batch. */
  readonly queries: readonly [start: number, end: number];
  /** Keys it sees, counted from the first key of the row. */
  readonly keys: readonly [start: number, end: number];
  readonly mask: HostTensor | undefined;
}

/** Runs attention stages row by row and tile by tile. */
export class AttentionRunner {
  readonly #masks = new Map<string, HostTensor>();
  readonly #tiles = new WeakMap<TokenBatch, Map<string, Tile[][]>>();

  constructor(readonly sessions: SessionCache) {}

  #session(
    stage: AttentionStage,
    masked: boolean,
    pass: "forward" | "backward",
    accumulate = false,
  ): Promise<Session> {
    const key = [
      stage.heads,
      stage.keyValueHeads,
      stage.headDim,
      stage.scale,
      masked,
      pass,
      accumulate,
    ].join();
    let session = this.#sessions.get(key);
    if (session === undefined) {
      session = this.sessions.compile(attentionGraphs(stage, { masked, accumulate })[pass]);
      this.#sessions.set(key, session);
    }
    return session;
  }
  readonly #sessions = new Map<string, Promise<Session>>();

  /** Mask (G T, S) of T queries whose first one stands at key `first`: 0 where seen, −∞ elsewhere. */
  #mask(groups: number, count: number, keys: number, first: number, window: number): HostTensor {
    const name = [groups, count, keys, first, window].join();
    let mask = this.#masks.get(name);
    if (mask === undefined) {
      const data = new Float32Array(groups * count * keys).fill(-Infinity);
      for (let row = 0; row < groups * count; row += 1) {
        const position = first + (row % count);
        data.fill(
          0,
          row * keys + Math.max(0, position - window + 1),
          row * keys + Math.min(keys, position + 1),
        );
      }
      mask = hostTensor("float32", [groups * count, keys], data);
      if (this.#masks.size >= 64) this.#masks.clear();
      this.#masks.set(name, mask);
    }
    return mask;
  }

  #plan(stage: AttentionStage, batch: TokenBatch, past: (row: number) => number): Tile[][] {
    const { causal, heads, keyValueHeads } = stage;
    const window = stage.window ?? Infinity;
    return Array.from({ length: batch.rowOffsets.length - 1 }, (_, row) => {
      const [start, end] = [batch.rowOffsets[row]!, batch.rowOffsets[row + 1]!];
      const before = past(row);
      const tiles: Tile[] = [];
      // Tiles of equal size, so that a row just over the limit is not cut into a large and a tiny one.
      const size = Math.ceil((end - start) / Math.ceil((end - start) / TILE));
      for (let from = start; from < end; from += size) {
        const to = Math.min(from + size, end);
        const first = before + from - start;
        const low = Math.max(0, first - window + 1);
        const high = causal ? before + to - start : before + end - start;
        const needsMask = causal && to - from > 1;
        const mask = needsMask
          ? this.#mask(heads / keyValueHeads, to - from, high - low, first - low, window)
          : undefined;
        tiles.push({ queries: [from, to], keys: [low, high], mask });
      }
      return tiles;
    });
  }

  /** Tiles without a cache depend on the batch alone, so the layers share them. */
  #planFor(stage: AttentionStage, batch: TokenBatch): Tile[][] {
    const key = [stage.heads, stage.keyValueHeads, stage.causal, stage.window].join();
    const plans = this.#tiles.get(batch) ?? new Map<string, Tile[][]>();
    this.#tiles.set(batch, plans);
    const plan = plans.get(key) ?? this.#plan(stage, batch, () => 0);
    plans.set(key, plan);
    return plan;
  }

  /** Writes the context of every token. */
  async forward(
    stage: AttentionStage,
    batch: TokenBatch,
    streams: { query: HostTensor; key: HostTensor; value: HostTensor; context: HostTensor },
    options: RunOptions & { readonly cache?: KeyValueCache | undefined },
  ): Promise<void> {
    const { cache } = options;
    const plan = cache
      ? this.#plan(stage, batch, (row) => cache.length(stage.layer, row))
      : this.#planFor(stage, batch);
    for (const [row, tiles] of plan.entries()) {
      const [start, end] = [batch.rowOffsets[row]!, batch.rowOffsets[row + 1]!];
      let keys = rowsOf(streams.key, start, end);
      let values = rowsOf(streams.value, start, end);
      if (cache) ({ keys, values } = cache.append(stage.layer, row, keys, values));
      for (const { queries, keys: seen, mask } of tiles) {
        const session = await this.#session(stage, mask !== undefined, "forward");
        const inputs = [rowsOf(streams.query, ...queries), rowsOf(keys, ...seen), rowsOf(values, ...seen)];
        if (mask !== undefined) inputs.push(mask);
        await session.run(inputs, [rowsOf(streams.context, ...queries)], options);
      }
    }
  }

  /** Writes the gradients of query, key and value. */
  async backward(
    stage: AttentionStage,
    batch: TokenBatch,
    streams: { query: HostTensor; key: HostTensor; value: HostTensor; dContext: HostTensor },
    results: { dQuery: HostTensor; dKey: HostTensor; dValue: HostTensor },
    options: RunOptions,
  ): Promise<void> {
    for (const [row, tiles] of this.#planFor(stage, batch).entries()) {
      const start = batch.rowOffsets[row]!;
      const end = batch.rowOffsets[row + 1]!;
      const accumulate = tiles.length > 1;
      if (accumulate) {
        for (const gradient of [results.dKey, results.dValue]) {
          (rowsOf(gradient, start, end).data as Float32Array).fill(0);
        }
      }
      for (const { queries, keys: seen, mask } of tiles) {
        const session = await this.#session(stage, mask !== undefined, "backward", accumulate);
        const at = (tensor: HostTensor): HostTensor => rowsOf(tensor, start + seen[0], start + seen[1]);
        const [dKey, dValue] = [at(results.dKey), at(results.dValue)];
        const inputs = [rowsOf(streams.query, ...queries), at(streams.key), at(streams.value)];
        if (mask !== undefined) inputs.push(mask);
        inputs.push(rowsOf(streams.dContext, ...queries));
        if (accumulate) inputs.push(dKey, dValue);
        await session.run(inputs, [rowsOf(results.dQuery, ...queries), dKey, dValue], options);
      }
    }
  }
}
