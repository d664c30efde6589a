import type { RunOptions, Session } from "../runtime/engine.js";
import type { HostTensor } from "../base/host-tensor.js";
import { attentionGraphs, headShapes } from "./attention-program.js";
import { AttentionTiles } from "./attention-tiles.js";
import { type BufferPool, rowsOf } from "./buffer-pool.js";
import type { KeyValueCache } from "./key-value-cache.js";
import type { SessionCache } from "./session-cache.js";
import type { AttentionStage, TokenBatch } from "./stage.js";

/** Keys and values that stand before those of every row, (n, W) each. */
export interface VirtualKeys {
  readonly key: HostTensor;
  readonly value: HostTensor;
}

/** Rows start … end − 1 of a tensor (N, W), in place, with the heads of each row as axes of their own. */
function headsOf(tensor: HostTensor, start: number, end: number, heads: readonly number[]): HostTensor {
  const { dtype, data } = rowsOf(tensor, start, end);
  return { dtype, data, dims: [end - start, ...heads] };
}

/** Runs attention stages row by row and tile by tile. */
export class AttentionRunner {
  readonly #tiles = new AttentionTiles();

  constructor(
    readonly sessions: SessionCache,
    readonly pool: BufferPool,
  ) {}

  #session(
    stage: AttentionStage,
    masked: boolean,
    pass: "forward" | "backward",
    { accumulate = false, trainsBias = false } = {},
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
      stage.bias?.buckets,
      trainsBias,
    ].join();
    let session = this.#sessions.get(key);
    if (session === undefined) {
      session = this.sessions.compile(attentionGraphs(stage, { masked, accumulate, trainsBias })[pass]);
      this.#sessions.set(key, session);
    }
    return session;
  }
  readonly #sessions = new Map<string, Promise<Session>>();

  /** Writes the context of every token. */
  async forward(
    stage: AttentionStage,
    batch: TokenBatch,
    streams: {
      readonly query: HostTensor;
      /** Keys and values; absent where all of them are in the cache. */
      readonly key: HostTensor | undefined;
      readonly value: HostTensor | undefined;
      readonly context: HostTensor;
      /** The table of the stage's bias. */
      readonly bias: HostTensor | undefined;
      readonly virtual?: VirtualKeys | undefined;
    },
    options: RunOptions & { readonly cache?: KeyValueCache | undefined },
  ): Promise<void> {
    // What a source is made of is never asked for again.
    const cache = stage.over === "source" ? undefined : options.cache;
    const { virtual } = streams;
    if (cache !== undefined && virtual !== undefined) {
      for (let row = 0; row + 1 < batch.rowOffsets.length; row += 1) {
        if (cache.length(stage.layer, row) === 0) cache.append(stage.layer, row, virtual.key, virtual.value);
      }
    }
    const past = virtual?.key.dims[0] ?? 0;
    const [perQuery, perKey] = headShapes(stage);
    const plan =
      cache === undefined
        ? this.#tiles.planFor(stage, batch, past)
        : this.#tiles.cachedPlan(stage, batch, cache);
    for (const [row, { keys: own, tiles }] of plan.entries()) {
      const [key, value] = [
        streams.key && rowsOf(streams.key, ...own),
        streams.value && rowsOf(streams.value, ...own),
      ];
      if (cache !== undefined && key !== undefined && value !== undefined)
        cache.append(stage.layer, row, key, value);
      let { keys, values } = cache?.get(stage.layer, row) ?? { keys: key!, values: value! };
      const joined = cache === undefined && virtual !== undefined;
      if (joined) [keys, values] = [this.#joined(virtual.key, keys), this.#joined(virtual.value, values)];
      for (const { queries, keys: seen, mask, buckets } of tiles) {
        const session = await this.#session(stage, mask !== undefined, "forward");
        const inputs = [
          headsOf(streams.query, ...queries, perQuery),
          headsOf(keys, ...seen, perKey),
          headsOf(values, ...seen, perKey),
        ];
        if (mask !== undefined) inputs.push(mask);
        if (buckets !== undefined) inputs.push(streams.bias!, buckets);
        await session.run(inputs, [headsOf(streams.context, ...queries, perQuery)], options);
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

  /** Writes the gradients of query, key and value, and adds to that of the bias. */
  async backward(
    stage: AttentionStage,
    batch: TokenBatch,
    streams: {
      readonly query: HostTensor;
      readonly key: HostTensor;
      readonly value: HostTensor;
      readonly dContext: HostTensor;
      readonly bias: HostTensor | undefined;
      readonly virtual?: VirtualKeys | undefined;
    },
    results: {
      readonly dQuery: HostTensor;
      readonly dKey: HostTensor;
      readonly dValue: HostTensor;
      /** Gradient of the table so far; undefined where it is not trained. */
      readonly dBias: HostTensor | undefined;
      readonly dVirtual?: VirtualKeys | undefined;
    },
    options: RunOptions,
  ): Promise<void> {
    const { virtual } = streams;
    const { dVirtual, dBias } = results;
    const [perQuery, perKey] = headShapes(stage);
    const trainsBias = dBias !== undefined;
    const past = virtual?.key.dims[0] ?? 0;
    for (const dx of dVirtual === undefined ? [] : [dVirtual.key, dVirtual.value]) {
      (dx.data as Float32Array).fill(0);
    }
    for (const { keys: own, tiles } of this.#tiles.planFor(stage, batch, past)) {
      const part = (tensor: HostTensor): HostTensor => rowsOf(tensor, ...own);
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
      for (const { queries, keys: seen, mask, buckets } of tiles) {
        const choices = { accumulate, trainsBias };
        const session = await this.#session(stage, mask !== undefined, "backward", choices);
        const at = (tensor: HostTensor): HostTensor => headsOf(tensor, ...seen, perKey);
        const of = (tensor: HostTensor): HostTensor => headsOf(tensor, ...queries, perQuery);
        const [dKey, dValue] = [at(dKeys), at(dValues)];
        const inputs = [of(streams.query), at(key), at(value)];
        if (mask !== undefined) inputs.push(mask);
        if (buckets !== undefined) inputs.push(streams.bias!, buckets);
        inputs.push(of(streams.dContext));
        if (accumulate) inputs.push(dKey, dValue);
        const outputs = [of(results.dQuery), dKey, dValue];
        if (dBias !== undefined) {
          inputs.push(dBias);
          outputs.push(dBias);
        }
        await session.run(inputs, outputs, options);
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
