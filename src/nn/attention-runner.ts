import type { RunOptions } from "../runtime/engine.js";
import { addTo, type HostTensor } from "../base/host-tensor.js";
import { chainsOf, largestTile } from "./attention-chains.js";
import { headShapes } from "./attention-program.js";
import { AttentionSessions } from "./attention-sessions.js";
import { AttentionTiles, type Group, type Tile } from "./attention-tiles.js";
import { type BufferPool, rowsOf } from "./buffer-pool.js";
import type { KeyValueCache } from "./key-value-cache.js";
import { inLanes } from "./lanes.js";
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

/** Bytes of the scores of a tile up to which tiles are run side by side: each run has some such tensors. */
const LANE_BYTES = 3 * 2 ** 20;

/** Runs attention stages tile by tile: small tiles side by side with a thread each, large ones with all threads. */
export class AttentionRunner {
  readonly #tiles = new AttentionTiles();
  readonly #sessions: AttentionSessions;
  /** Tiles that are run side by side. */
  lanes: number;

  constructor(
    sessions: SessionCache,
    readonly pool: BufferPool,
  ) {
    this.#sessions = new AttentionSessions(sessions);
    this.lanes = sessions.engine.lanes ?? 1;
  }

  #lanesFor({ heads }: AttentionStage, plan: readonly Group[], { brief = false }: RunOptions): number {
    return brief || 4 * heads * largestTile(plan) > LANE_BYTES ? 1 : this.lanes;
  }

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
    const lanes = this.#lanesFor(stage, plan, options);
    const lent: HostTensor[] = [];
    const jobs: (() => Promise<void>)[] = [];
    for (const [row, { keys: own, tiles }] of plan.entries()) {
      const [key, value] = [
        streams.key && rowsOf(streams.key, ...own),
        streams.value && rowsOf(streams.value, ...own),
      ];
      if (cache !== undefined && key !== undefined && value !== undefined)
        cache.append(stage.layer, row, key, value);
      let { keys, values } = cache?.get(stage.layer, row) ?? { keys: key!, values: value! };
      if (cache === undefined && virtual !== undefined) {
        [keys, values] = [this.#joined(virtual.key, keys), this.#joined(virtual.value, values)];
        lent.push(keys, values);
      }
      for (const { queries, keys: seen, mask, buckets } of tiles) {
        jobs.push(async () => {
          const session = await this.#sessions.forward(stage, mask !== undefined, lanes > 1);
          const inputs = [
            headsOf(streams.query, ...queries, perQuery),
            headsOf(keys, ...seen, perKey),
            headsOf(values, ...seen, perKey),
          ];
          if (mask !== undefined) inputs.push(mask);
          if (buckets !== undefined) inputs.push(streams.bias!, buckets);
          await session.run(inputs, [headsOf(streams.context, ...queries, perQuery)], {
            ...options,
            transient: true,
          });
        });
      }
    }
    try {
      await inLanes(jobs, lanes);
    } finally {
      for (const tensor of lent) this.pool.release(tensor);
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
    const { dVirtual } = results;
    const past = virtual?.key.dims[0] ?? 0;
    const plan = this.#tiles.planFor(stage, batch, past);
    const lent: HostTensor[] = [];
    const lend = (tensor: HostTensor): HostTensor => {
      lent.push(tensor);
      return tensor;
    };
    const zeroLike = ({ dims }: HostTensor): HostTensor => {
      const tensor = lend(this.pool.acquire("float32", dims));
      (tensor.data as Float32Array).fill(0);
      return tensor;
    };
    const groups = plan.map(({ keys: own, tiles }): RowGradients => {
      const part = (tensor: HostTensor): HostTensor => rowsOf(tensor, ...own);
      const accumulate = tiles.length > 1;
      if (virtual === undefined) {
        const [dKey, dValue] = [part(results.dKey), part(results.dValue)];
        if (accumulate) for (const dx of [dKey, dValue]) (dx.data as Float32Array).fill(0);
        return { key: part(streams.key), value: part(streams.value), dKey, dValue, accumulate };
      }
      // With virtual keys the row's own lie in another place while it runs.
      const key = lend(this.#joined(virtual.key, part(streams.key)));
      const value = lend(this.#joined(virtual.value, part(streams.value)));
      // A window can leave virtual keys out of every tile.
      return { key, value, dKey: zeroLike(key), dValue: zeroLike(key), accumulate };
    });
    const chains = chainsOf(plan);
    const lanes = this.#lanesFor(stage, plan, options);
    // The first chain of a row, and of all for the bias, adds to the result itself, the others to tensors of their own.
    const sums: (readonly [sum: HostTensor, part: HostTensor])[] = [];
    const ownPart = (sum: HostTensor, first: boolean): HostTensor => {
      if (first) return sum;
      const tensor = zeroLike(sum);
      sums.push([sum, tensor]);
      return tensor;
    };
    const jobs = chains.map(({ group, tiles }, i) => {
      const { dKey, dValue, ...row } = groups[group]!;
      const first = chains[i - 1]?.group !== group;
      const into = {
        dQuery: results.dQuery,
        dKey: ownPart(dKey, first),
        dValue: ownPart(dValue, first),
        dBias: results.dBias && ownPart(results.dBias, i === 0),
      };
      return () => this.#backwardTiles(stage, tiles, { ...streams, ...row }, into, { ...options, lanes });
    });
    try {
      await inLanes(jobs, lanes);
      for (const [sum, part] of sums) addTo(sum.data, part.data);
      if (dVirtual !== undefined) {
        for (const dx of [dVirtual.key, dVirtual.value]) (dx.data as Float32Array).fill(0);
        for (const [i, { dKey, dValue }] of groups.entries()) {
          takeApart(dKey, dVirtual.key, rowsOf(results.dKey, ...plan[i]!.keys));
          takeApart(dValue, dVirtual.value, rowsOf(results.dValue, ...plan[i]!.keys));
        }
      }
    } finally {
      for (const tensor of lent) this.pool.release(tensor);
    }
  }

  /** Gradients of the tiles of one row, one after another. */
  async #backwardTiles(
    stage: AttentionStage,
    tiles: readonly Tile[],
    given: Omit<RowGradients, "dKey" | "dValue"> & {
      readonly query: HostTensor;
      readonly dContext: HostTensor;
      readonly bias: HostTensor | undefined;
    },
    into: Pick<RowGradients, "dKey" | "dValue"> & {
      readonly dQuery: HostTensor;
      readonly dBias: HostTensor | undefined;
    },
    { lanes, ...options }: RunOptions & { readonly lanes: number },
  ): Promise<void> {
    const { accumulate } = given;
    const [perQuery, perKey] = headShapes(stage);
    for (const { queries, keys: seen, mask, buckets } of tiles) {
      const session = await this.#sessions.backward(stage, mask !== undefined, lanes > 1, {
        accumulate,
        trainsBias: into.dBias !== undefined,
      });
      const at = (tensor: HostTensor): HostTensor => headsOf(tensor, ...seen, perKey);
      const of = (tensor: HostTensor): HostTensor => headsOf(tensor, ...queries, perQuery);
      const [dKey, dValue] = [at(into.dKey), at(into.dValue)];
      const inputs = [of(given.query), at(given.key), at(given.value)];
      if (mask !== undefined) inputs.push(mask);
      if (buckets !== undefined) inputs.push(given.bias!, buckets);
      inputs.push(of(given.dContext));
      if (accumulate) inputs.push(dKey, dValue);
      const outputs = [of(into.dQuery), dKey, dValue];
      if (into.dBias !== undefined) {
        inputs.push(into.dBias);
        outputs.push(into.dBias);
      }
      await session.run(inputs, outputs, { ...options, transient: true });
    }
  }
}

/** Keys and values of a row, and where their gradients go. */
interface RowGradients {
  readonly key: HostTensor;
  readonly value: HostTensor;
  readonly dKey: HostTensor;
  readonly dValue: HostTensor;
  /** Whether several tiles add to the gradients. */
  readonly accumulate: boolean;
}

/** Adds the first rows of a gradient to that of the virtual keys and copies the others. */
function takeApart(all: HostTensor, virtual: HostTensor, own: HostTensor): void {
  const data = all.data as Float32Array;
  addTo(virtual.data, data);
  (own.data as Float32Array).set(data.subarray(virtual.data.length));
}
