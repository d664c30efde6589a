import type { RunOptions, Session } from "../runtime/engine.js";
import { type HostTensor, hostTensor } from "../base/host-tensor.js";
import { attentionGraphs } from "./attention-program.js";
import { rowsOf } from "./buffer-pool.js";
import type { KeyValueCache } from "./key-value-cache.js";
import type { SessionCache } from "./session-cache.js";
import type { AttentionStage, TokenBatch } from "./stage.js";

/** Queries of one tile: enough for the matrix product to be efficient, few enough to skip most of the masked half. */
const TILE = 256;

/** Short rows are run together up to this many tokens: a call costs more than the products that the mask throws away. */
const GROUP = 128;

/** Consecutive rows of a batch that are run together. */
interface Group {
  readonly start: number;
  readonly end: number;
  readonly tiles: readonly Tile[];
}

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
  readonly #groups = new WeakMap<TokenBatch, Map<string, Group[]>>();

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

  /** Tiles of one row that has `past` tokens in the cache; queries are counted over the batch. */
  #rowTiles(stage: AttentionStage, start: number, end: number, past: number): Tile[] {
    const { causal, heads, keyValueHeads } = stage;
    const window = stage.window ?? Infinity;
    // Tiles of equal size, so that a row just over the limit is not cut into a large and a tiny one.
    const size = Math.ceil((end - start) / Math.ceil((end - start) / TILE));
    const tiles: Tile[] = [];
    for (let from = start; from < end; from += size) {
      const to = Math.min(from + size, end);
      const first = past + from - start;
      const low = Math.max(0, first - window + 1);
      const high = past + (causal ? to : end) - start;
      const masked = causal && to - from > 1;
      const mask = masked
        ? this.#mask(heads / keyValueHeads, to - from, high - low, first - low, window)
        : undefined;
      tiles.push({ queries: [from, to], keys: [low, high], mask });
    }
    return tiles;
  }

  /** Mask of several whole rows that are run as one: tokens see their own row alone. */
  #groupMask(stage: AttentionStage, lengths: readonly number[]): HostTensor {
    const total = lengths.reduce((sum, length) => sum + length, 0);
    const groups = stage.heads / stage.keyValueHeads;
    const window = stage.window ?? Infinity;
    const data = new Float32Array(groups * total * total).fill(-Infinity);
    let start = 0;
    for (const length of lengths) {
      for (let t = 0; t < length; t += 1) {
        const from = start + Math.max(0, stage.causal ? t - window + 1 : 0);
        const to = start + (stage.causal ? t + 1 : length);
        for (let g = 0; g < groups; g += 1) {
          const row = (g * total + start + t) * total;
          data.fill(0, row + from, row + to);
        }
      }
      start += length;
    }
    return hostTensor("float32", [groups * total, total], data);
  }

  /** Rows put together where they are short; without a cache the plan depends on the batch alone, so the layers share it. */
  #planFor(stage: AttentionStage, batch: TokenBatch): Group[] {
    const key = [stage.heads, stage.keyValueHeads, stage.causal, stage.window].join();
    const plans = this.#groups.get(batch) ?? new Map<string, Group[]>();
    this.#groups.set(batch, plans);
    const known = plans.get(key);
    if (known !== undefined) return known;
    const { rowOffsets } = batch;
    const plan: Group[] = [];
    for (let row = 0; row + 1 < rowOffsets.length;) {
      const start = rowOffsets[row]!;
      let last = row + 1;
      while (last + 1 < rowOffsets.length && rowOffsets[last + 1]! - start <= GROUP) last += 1;
      const end = rowOffsets[last]!;
      const lengths = Array.from(
        { length: last - row },
        (_, i) => rowOffsets[row + i + 1]! - rowOffsets[row + i]!,
      );
      const tiles: Tile[] =
        lengths.length === 1
          ? this.#rowTiles(stage, start, end, 0)
          : [{ queries: [start, end], keys: [0, end - start], mask: this.#groupMask(stage, lengths) }];
      plan.push({ start, end, tiles });
      row = last;
    }
    plans.set(key, plan);
    return plan;
  }

  /** With a cache every row has keys of its own, so each is run by itself. */
  #cachedPlan(stage: AttentionStage, batch: TokenBatch, cache: KeyValueCache): Group[] {
    return Array.from({ length: batch.rowOffsets.length - 1 }, (_, row) => {
      const [start, end] = [batch.rowOffsets[row]!, batch.rowOffsets[row + 1]!];
      return { start, end, tiles: this.#rowTiles(stage, start, end, cache.length(stage.layer, row)) };
    });
  }

  /** Writes the context of every token. */
  async forward(
    stage: AttentionStage,
    batch: TokenBatch,
    streams: { query: HostTensor; key: HostTensor; value: HostTensor; context: HostTensor },
    options: RunOptions & { readonly cache?: KeyValueCache | undefined },
  ): Promise<void> {
    const { cache } = options;
    const plan = cache === undefined ? this.#planFor(stage, batch) : this.#cachedPlan(stage, batch, cache);
    for (const [row, { start, end, tiles }] of plan.entries()) {
      let keys = rowsOf(streams.key, start, end);
      let values = rowsOf(streams.value, start, end);
      if (cache !== undefined) ({ keys, values } = cache.append(stage.layer, row, keys, values));
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
    for (const { start, end, tiles } of this.#planFor(stage, batch)) {
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
