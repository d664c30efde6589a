import { type HostTensor, hostTensor } from "../base/host-tensor.js";
import type { CachedLayer } from "./cached-program.js";

/** Places that a cache begins with. */
const LEAST_PLACES = 64;

/** Room for more than is asked for, so that it is not moved for every token. */
const GROWTH = 1.5;

/** Where a cache is kept. */
export interface CacheMemory {
  /** So many zeros. */
  allocate(count: number): Float32Array;
  /** Takes back what is no longer read. */
  free(array: Float32Array): void;
}

const ordinary: CacheMemory = { allocate: (count) => new Float32Array(count), free: () => undefined };

/** Keys and values of several rows for every layer as one graph reads and extends them: heads before tokens, (B, K, C, d). */
export class HeadCache {
  /** Tokens that each row holds. */
  readonly lengths: number[];
  #places = 0;
  /** Keys and values of the first layer, of the second, and so on. */
  #tensors: readonly HostTensor[];
  readonly #rows = new Map<number, readonly HostTensor[]>();

  constructor(
    readonly layers: readonly CachedLayer[],
    rows: number,
    readonly memory = ordinary,
  ) {
    this.lengths = Array.from({ length: rows }, () => 0);
    this.#tensors = this.#allocate();
  }

  /** Whether nothing has been run with it yet. */
  get empty(): boolean {
    return this.lengths.every((length) => length === 0);
  }

  #allocate(): HostTensor[] {
    return this.layers.flatMap(({ keyValueHeads: K, headDim: d }) =>
      [0, 1].map(() => {
        const dims = [this.lengths.length, K, this.#places, d];
        return hostTensor("float32", dims, this.memory.allocate(dims.reduce((a, b) => a * b)));
      }),
    );
  }

  /** Makes room for rows of this many tokens. */
  reserve(length: number): void {
    if (length <= this.#places) return;
    const before = this.#tensors;
    const old = this.#places;
    this.#places = Math.max(LEAST_PLACES, Math.ceil(length * GROWTH));
    this.#tensors = this.#allocate();
    this.#rows.clear();
    for (const [i, { data, dims }] of before.entries()) {
      const [rows, heads, , d] = dims as [number, number, number, number];
      const target = this.#tensors[i]!.data as Float32Array;
      for (let head = 0; head < rows * heads; head += 1) {
        const used = this.lengths[Math.floor(head / heads)]! * d;
        const from = head * old * d;
        target.set(data.subarray(from, from + used) as Float32Array, head * this.#places * d);
      }
      this.memory.free(data as Float32Array);
    }
  }

  /** Must be called when no more is read: its memory is for others then. */
  release(): void {
    for (const { data } of this.#tensors) this.memory.free(data as Float32Array);
    this.#tensors = [];
    this.#rows.clear();
  }

  /** Keys and values of all rows, layer by layer. */
  get all(): readonly HostTensor[] {
    return this.#tensors;
  }

  /** The same of one row, in place. */
  row(row: number): readonly HostTensor[] {
    const known = this.#rows.get(row);
    if (known !== undefined) return known;
    const views = this.#tensors.map(({ data, dims: [, ...rest] }) => {
      const size = rest.reduce((a, b) => a * b);
      return hostTensor("float32", [1, ...rest], data.subarray(row * size, (row + 1) * size) as Float32Array);
    });
    this.#rows.set(row, views);
    return views;
  }

  /** Puts the same tokens before everything in each row: keys and values (n, K d), layer by layer. */
  begin(tokens: readonly HostTensor[]): void {
    const count = tokens[0]!.dims[0]!;
    this.reserve(count);
    for (const [i, { data, dims }] of this.#tensors.entries()) {
      const [rows, heads, places, d] = dims as [number, number, number, number];
      const from = tokens[i]!.data as Float32Array;
      for (let head = 0; head < rows * heads; head += 1)
        for (let t = 0; t < count; t += 1) {
          const at = (t * heads + (head % heads)) * d;
          (data as Float32Array).set(from.subarray(at, at + d), (head * places + t) * d);
        }
    }
    this.lengths.fill(count);
  }

  /** Forgets rows that are finished; the remaining ones are numbered anew in the given, ascending order. */
  keepRows(rows: readonly number[]): void {
    if (rows.length === this.lengths.length) return;
    this.#tensors = this.#tensors.map(({ data, dims: [, ...rest] }) => {
      const size = rest.reduce((a, b) => a * b);
      for (const [to, from] of rows.entries()) data.copyWithin(to * size, from * size, (from + 1) * size);
      const kept = data.subarray(0, rows.length * size) as Float32Array;
      return hostTensor("float32", [rows.length, ...rest], kept);
    });
    this.#rows.clear();
    this.lengths.splice(0, this.lengths.length, ...rows.map((row) => this.lengths[row]!));
  }
}
