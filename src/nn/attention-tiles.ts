import { type HostTensor, hostTensor } from "../base/host-tensor.js";
import type { KeyValueCache } from "./key-value-cache.js";
import { type AttentionStage, type RelativeBias, type TokenBatch, tokensOver } from "./stage.js";

/** Queries of one tile: enough for the matrix product to be efficient, few enough to skip most of the masked half. */
const TILE = 128;

/** Short rows are run together up to this many tokens: a call costs more than the products that the mask throws away. */
const GROUP = 128;

/** Consecutive rows of a batch that are run together. */
export interface Group {
  /** Their keys, counted over the tokens that keys are made of. */
  readonly keys: readonly [start: number, end: number];
  readonly tiles: readonly Tile[];
}

export interface Tile {
  /** Queries of the tile, counted over the batch. */
  readonly queries: readonly [start: number, end: number];
  /** Keys it sees, counted from the first key of the row; virtual ones come first. */
  readonly keys: readonly [start: number, end: number];
  readonly mask: HostTensor | undefined;
  /** Rows of the table of the stage's bias, (T, S). */
  readonly buckets: HostTensor | undefined;
}

const lengthsOf = (offsets: Int32Array, from: number, to: number): number[] =>
  Array.from({ length: to - from }, (_, i) => offsets[from + i + 1]! - offsets[from + i]!);

/** Cuts attention into tiles: a row by itself, or several short ones together under a mask that keeps them apart. */
export class AttentionTiles {
  readonly #tensors = new Map<string, HostTensor>();
  readonly #groups = new WeakMap<TokenBatch, Map<string, Group[]>>();

  /** A tensor that depends on its name alone. */
  #kept(name: string, make: () => HostTensor): HostTensor {
    let tensor = this.#tensors.get(name);
    if (tensor === undefined) {
      tensor = make();
      if (this.#tensors.size >= 64) this.#tensors.clear();
      this.#tensors.set(name, tensor);
    }
    return tensor;
  }

  /** Mask (T, S) of T queries whose first one stands at key `first`: 0 where seen, −∞ elsewhere. */
  #mask(count: number, keys: number, first: number, window: number): HostTensor {
    return this.#kept(`mask ${[count, keys, first, window].join()}`, () => {
      const data = new Float32Array(count * keys).fill(-Infinity);
      for (let row = 0; row < count; row += 1) {
        const position = first + row;
        data.fill(
          0,
          row * keys + Math.max(0, position - window + 1),
          row * keys + Math.min(keys, position + 1),
        );
      }
      return hostTensor("float32", [count, keys], data);
    });
  }

  /** Rows of a bias (T, S) for T queries whose first one stands at key `first`. */
  #buckets(bias: RelativeBias, count: number, keys: number, first: number): HostTensor {
    return this.#kept(`${bias.stream} ${[count, keys, first].join()}`, () => {
      const data = new BigInt64Array(count * keys);
      for (let row = 0; row < count; row += 1)
        for (let key = 0; key < keys; key += 1)
          data[row * keys + key] = BigInt(bias.bucket(key - first - row));
      return hostTensor("int64", [count, keys], data);
    });
  }

  /** Tiles of one row with `keyCount` keys, `past` of which are in the cache or virtual; queries are counted over the batch. */
  #rowTiles(stage: AttentionStage, start: number, end: number, past: number, keyCount: number): Tile[] {
    const { causal, bias } = stage;
    const window = stage.window ?? Infinity;
    // Tiles of equal size, so that a row just over the limit is not cut into a large and a tiny one.
    const size = Math.ceil((end - start) / Math.ceil((end - start) / TILE));
    const tiles: Tile[] = [];
    for (let from = start; from < end; from += size) {
      const to = Math.min(from + size, end);
      const first = past + from - start;
      const low = Math.max(0, first - window + 1);
      const high = causal ? past + to - start : keyCount;
      const masked = causal && to - from > 1;
      tiles.push({
        queries: [from, to],
        keys: [low, high],
        mask: masked ? this.#mask(to - from, high - low, first - low, window) : undefined,
        buckets: bias && this.#buckets(bias, to - from, high - low, first - low),
      });
    }
    return tiles;
  }

  /**
   * Mask of several whole rows that are run as one: tokens see the keys of their own row alone, and the `past` virtual ones before
   * them; and the rows of the bias.
   */
  #groupTensors(
    stage: AttentionStage,
    lengths: readonly number[],
    keyLengths: readonly number[],
    past: number,
  ): Pick<Tile, "mask" | "buckets"> {
    const sum = (numbers: readonly number[]): number => numbers.reduce((total, one) => total + one, 0);
    const [total, keys] = [sum(lengths), past + sum(keyLengths)];
    const window = stage.window ?? Infinity;
    const data = new Float32Array(total * keys).fill(-Infinity);
    const buckets = stage.bias && new BigInt64Array(total * keys);
    let [start, keyStart] = [0, past];
    for (const [i, length] of lengths.entries()) {
      const own = keyLengths[i]!;
      for (let t = 0; t < length; t += 1) {
        // The first position it sees, counted from that of the first virtual token.
        const low = stage.causal ? Math.max(0, past + t - window + 1) : 0;
        const from = keyStart + Math.max(0, low - past);
        const to = keyStart + (stage.causal ? t + 1 : own);
        const row = (start + t) * keys;
        data.fill(0, row + Math.min(low, past), row + past);
        data.fill(0, row + from, row + to);
        if (buckets === undefined) continue;
        for (let key = 0; key < past + own; key += 1) {
          const at = key < past ? key : keyStart + key - past;
          buckets[row + at] = BigInt(stage.bias!.bucket(key - past - t));
        }
      }
      start += length;
      keyStart += own;
    }
    return {
      mask: hostTensor("float32", [total, keys], data),
      buckets: buckets && hostTensor("int64", [total, keys], buckets),
    };
  }

  /** Rows put together where they are short; without a cache the plan depends on the batch alone, so the layers share it. */
  planFor(stage: AttentionStage, batch: TokenBatch, past = 0): Group[] {
    const { over, keysOver = over, heads, keyValueHeads, causal, window, bias } = stage;
    const key = [heads, keyValueHeads, causal, window, past, over, keysOver, bias?.stream].join();
    const plans = this.#groups.get(batch) ?? new Map<string, Group[]>();
    this.#groups.set(batch, plans);
    const known = plans.get(key);
    if (known !== undefined) return known;
    const { rowOffsets } = tokensOver(batch, over)!;
    const { rowOffsets: keyOffsets } = tokensOver(batch, keysOver)!;
    const plan: Group[] = [];
    for (let row = 0; row + 1 < rowOffsets.length;) {
      const [start, keyStart] = [rowOffsets[row]!, keyOffsets[row]!];
      const fits = (end: number): boolean =>
        rowOffsets[end]! - start <= GROUP && keyOffsets[end]! - keyStart <= GROUP;
      let last = row + 1;
      while (last + 1 < rowOffsets.length && fits(last + 1)) last += 1;
      const [end, keyEnd] = [rowOffsets[last]!, keyOffsets[last]!];
      const keyCount = past + keyEnd - keyStart;
      const tiles: Tile[] =
        last - row === 1
          ? this.#rowTiles(stage, start, end, past, keyCount)
          : [
              {
                queries: [start, end],
                keys: [0, keyCount],
                ...this.#groupTensors(
                  stage,
                  lengthsOf(rowOffsets, row, last),
                  lengthsOf(keyOffsets, row, last),
                  past,
                ),
              },
            ];
      plan.push({ keys: [keyStart, keyEnd], tiles });
      row = last;
    }
    plans.set(key, plan);
    return plan;
  }

  /** With a cache every row has keys of its own, so each is run by itself. Keys of a source are in the cache once it has been run. */
  cachedPlan(stage: AttentionStage, batch: TokenBatch, cache: KeyValueCache): Group[] {
    const { rowOffsets } = batch;
    const keyOffsets = tokensOver(batch, stage.keysOver)?.rowOffsets;
    return Array.from({ length: rowOffsets.length - 1 }, (_, row) => {
      const [start, end] = [rowOffsets[row]!, rowOffsets[row + 1]!];
      const [keyStart, keyEnd] = [keyOffsets?.[row] ?? 0, keyOffsets?.[row + 1] ?? 0];
      const past = cache.length(stage.layer, row);
      const tiles = this.#rowTiles(stage, start, end, past, past + keyEnd - keyStart);
      return { keys: [keyStart, keyEnd], tiles };
    });
  }
}
