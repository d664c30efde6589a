import type { RunOptions, Session } from "../runtime/engine.js";
import { type HostTensor, hostTensor } from "../base/host-tensor.js";
import { attentionGraphs } from "./attention-program.js";
import { type BufferPool, rowsOf } from "./buffer-pool.js";
import type { KeyValueCache } from "./key-value-cache.js";
import type { SessionCache } from "./session-cache.js";
import type { AttentionStage, TokenBatch } from "./stage.js";

/** Queries of one tile: enough for the matrix product to be efficient, few enough to skip most of the masked half. */
const TILE = 128;

/** Short rows are run together up to this many tokens: a call costs more than the products that the mask throws away. */
const GROUP = 128;

/** Keys and values that stand before those of every row, (n, W) each. */
export interface VirtualKeys {
  readonly key: HostTensor;
  readonly value: HostTensor;
}

/** Consecutive rows of a batch that are run together. */
interface Group {
  readonly start: number;
  readonly end: number;
  readonly tiles: readonly Tile[];
}

interface Tile {
  /** Queries of the tile, counted over the batch. */
  readonly queries: readonly [start: number, end: number];
  /** Keys it sees, counted from the first key of the row; virtual ones come first. */
  readonly keys: readonly [start: number, end: number];
  readonly mask: HostTensor | undefined;
}

/** Runs attention stages row by row and tile by tile. */
export class AttentionRunner {
  readonly #masks = new Map<string, HostTensor>();
  readonly #groups = new WeakMap<TokenBatch, Map<string, Group[]>>();

  constructor(
    readonly sessions: SessionCache,
    readonly pool: BufferPool,
  ) {}

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
      stage.cap,
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

  /** Mask (T, S) of T queries whose first one stands at key `first`: 0 where seen, −∞ elsewhere. */
  #mask(count: number, keys: number, first: number, window: number): HostTensor {
    const name = [count, keys, first, window].join();
    let mask = this.#masks.get(name);
    if (mask === undefined) {
      const data = new Float32Array(count * keys).fill(-Infinity);
      for (let row = 0; row < count; row += 1) {
        const position = first + row;
        data.fill(
          0,
          row * keys + Math.max(0, position - window + 1),
          row * keys + Math.min(keys, position + 1),
        );
      }
      mask = hostTensor("float32", [count, keys], data);
      if (this.#masks.size >= 64) this.#masks.clear();
      this.#masks.set(name, mask);
    }
    return mask;
  }

  /** Tiles of one row that has `past` tokens in the cache or virtual ones; queries are counted over the batch. */
  #rowTiles(stage: AttentionStage, start: number, end: number, past: number): Tile[] {
    const { causal } = stage;
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
      const mask = masked ? this.#mask(to - from, high - low, first - low, window) : undefined;
      tiles.push({ queries: [from, to], keys: [low, high], mask });
    }
    return tiles;
  }

  /** Mask of several whole rows that are run as one: tokens see their own row alone, and the `past` virtual tokens before it. */
  #groupMask(stage: AttentionStage, lengths: readonly number[], past: number): HostTensor {
    const total = lengths.reduce((sum, length) => sum + length, 0);
    const keys = past + total;
    const window = stage.window ?? Infinity;
    const data = new Float32Array(total * keys).fill(-Infinity);
    let start = 0;
    for (const length of lengths) {
      for (let t = 0; t < length; t += 1) {
        // The first position it sees, counted from that of the first virtual token.
        const low = stage.causal ? Math.max(0, past + t - window + 1) : 0;
        const from = past + start + Math.max(0, low - past);
        const to = past + start + (stage.causal ? t + 1 : length);
        const row = (start + t) * keys;
        data.fill(0, row + Math.min(low, past), row + past);
        data.fill(0, row + from, row + to);
      }
      start += length;
    }
    return hostTensor("float32", [total, keys], data);
  }

  /** Rows put together where they are short; without a cache the plan depends on the batch alone, so the layers share it. */
  #planFor(stage: AttentionStage, batch: TokenBatch, past = 0): Group[] {
    const key = [stage.heads, stage.keyValueHeads, stage.causal, stage.window, past].join();
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
          ? this.#rowTiles(stage, start, end, past)
          : [
              {
                queries: [start, end],
                keys: [0, past + end - start],
                mask: this.#groupMask(stage, lengths, past),
              },
            ];
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
    streams: {
      readonly query: HostTensor;
      readonly key: HostTensor;
      readonly value: HostTensor;
      readonly context: HostTensor;
      readonly virtual?: VirtualKeys | undefined;
    },
    options: RunOptions & { readonly cache?: KeyValueCache | undefined },
  ): Promise<void> {
    const { cache } = options;
    const { virtual } = streams;
    if (cache !== undefined && virtual !== undefined) {
      for (let row = 0; row + 1 < batch.rowOffsets.length; row += 1) {
        if (cache.length(stage.layer, row) === 0) cache.append(stage.layer, row, virtual.key, virtual.value);
      }
    }
    const past = virtual?.key.dims[0] ?? 0;
    const plan =
      cache === undefined ? this.#planFor(stage, batch, past) : this.#cachedPlan(stage, batch, cache);
    for (const [row, { start, end, tiles }] of plan.entries()) {
      let keys = rowsOf(streams.key, start, end);
      let values = rowsOf(streams.value, start, end);
      if (cache !== undefined) ({ keys, values } = cache.append(stage.layer, row, keys, values));
      const joined = cache === undefined && virtual !== undefined;
      if (joined) [keys, values] = [this.#joined(virtual.key, keys), this.#joined(virtual.value, values)];
      for (const { queries, keys: seen, mask } of tiles) {
        const session = await this.#session(stage, mask !== undefined, "forward");
        const inputs = [rowsOf(streams.query, ...queries), rowsOf(keys, ...seen), rowsOf(values, ...seen)];
        if (mask !== undefined) inputs.push(mask);
        await session.run(inputs, [rowsOf(streams.context, ...queries)], options);
      }
      if (joined) for (const tensor of [keys, values]) this.pool.release(tensor);
    }
  }

  /** Rows of a and b in one tensor of the pool. */
  #joined(a: HostTensor, b: HostTensor): HostTensor {
    const result = this.pool.acquire("float32", [a.dims[0]! + b.dims[0]!, b.dims[1]!]);
    const data = result.data as Float32Array;
    data.set(a.data as Float32Array);
    data.set(b.data as Float32Array, a.data.length);
    return result;
  }

  /** Writes the gradients of query, key and value. */
  async backward(
    stage: AttentionStage,
    batch: TokenBatch,
    streams: {
      readonly query: HostTensor;
      readonly key: HostTensor;
      readonly value: HostTensor;
      readonly dContext: HostTensor;
      readonly virtual?: VirtualKeys | undefined;
    },
    results: {
      readonly dQuery: HostTensor;
      readonly dKey: HostTensor;
      readonly dValue: HostTensor;
      readonly dVirtual?: VirtualKeys | undefined;
    },
    options: RunOptions,
  ): Promise<void> {
    const { virtual } = streams;
    const { dVirtual } = results;
    const past = virtual?.key.dims[0] ?? 0;
    for (const dx of dVirtual === undefined ? [] : [dVirtual.key, dVirtual.value]) {
      (dx.data as Float32Array).fill(0);
    }
    for (const { start, end, tiles } of this.#planFor(stage, batch, past)) {
      const part = (tensor: HostTensor): HostTensor => rowsOf(tensor, start, end);
      // With virtual keys the row's own lie in another place while it runs.
      const key = virtual === undefined ? part(streams.key) : this.#joined(virtual.key, part(streams.key));
      const value =
        virtual === undefined ? part(streams.value) : this.#joined(virtual.value, part(streams.value));
      const dKeys = virtual === undefined ? part(results.dKey) : this.pool.acquire("float32", key.dims);
      const dValues = virtual === undefined ? part(results.dValue) : this.pool.acquire("float32", key.dims);
      const accumulate = tiles.length > 1;
      // A window can leave virtual keys out of every tile.
      if (accumulate || virtual !== undefined)
        for (const dx of [dKeys, dValues]) (dx.data as Float32Array).fill(0);
      for (const { queries, keys: seen, mask } of tiles) {
        const session = await this.#session(stage, mask !== undefined, "backward", accumulate);
        const at = (tensor: HostTensor): HostTensor => rowsOf(tensor, ...seen);
        const [dKey, dValue] = [at(dKeys), at(dValues)];
        const inputs = [rowsOf(streams.query, ...queries), at(key), at(value)];
        if (mask !== undefined) inputs.push(mask);
        inputs.push(rowsOf(streams.dContext, ...queries));
        if (accumulate) inputs.push(dKey, dValue);
        await session.run(inputs, [rowsOf(results.dQuery, ...queries), dKey, dValue], options);
      }
      if (dVirtual === undefined) continue;
      takeApart(dKeys, dVirtual.key, part(results.dKey));
      takeApart(dValues, dVirtual.value, part(results.dValue));
      for (const tensor of [key, value, dKeys, dValues]) this.pool.release(tensor);
    }
  }
}

/** Adds the first rows of a gradient to that of the virtual keys and copies the others. */
function takeApart(all: HostTensor, virtual: HostTensor, own: HostTensor): void {
  const data = all.data as Float32Array;
  const sum = virtual.data as Float32Array;
  for (let i = 0; i < sum.length; i += 1) sum[i]! += data[i]!;
  (own.data as Float32Array).set(data.subarray(sum.length));
}
