import { InternalError } from "../base/errors.js";
import { type HostTensor, hostTensor } from "../base/host-tensor.js";
import { rowsOf } from "./buffer-pool.js";

interface Entry {
  length: number;
  keys: HostTensor;
  values: HostTensor;
}

/** Keys and values of the tokens that have been run, for every layer and row. */
export class KeyValueCache {
  readonly #entries = new Map<string, Entry>();

  /** Whether nothing has been run with it yet. */
  get empty(): boolean {
    return this.#entries.size === 0;
  }

  /** Tokens that a row holds in a layer. */
  length(layer: number, row: number): number {
    return this.#entries.get(`${layer}/${row}`)?.length ?? 0;
  }

  /** All that a row holds in a layer: keys and values (S, W). */
  get(layer: number, row: number): { keys: HostTensor; values: HostTensor } {
    const entry = this.#entries.get(`${layer}/${row}`);
    if (entry === undefined)
      throw new InternalError(`The cache holds nothing of row ${row} in layer ${layer}.`);
    const { keys, values, length } = entry;
    return { keys: rowsOf(keys, 0, length), values: rowsOf(values, 0, length) };
  }

  /** Adds tokens (T, W) and returns all there are: keys and values (S, W). */
  append(
    layer: number,
    row: number,
    keys: HostTensor,
    values: HostTensor,
  ): { keys: HostTensor; values: HostTensor } {
    const name = `${layer}/${row}`;
    const width = keys.dims[1]!;
    const count = keys.dims[0]!;
    let entry = this.#entries.get(name);
    const length = entry?.length ?? 0;
    if (entry === undefined || length + count > entry.keys.dims[0]!) {
      const capacity = Math.max(64, Math.ceil((length + count) * 1.5));
      const grow = (old: HostTensor | undefined): HostTensor => {
        const data = new Float32Array(capacity * width);
        if (old !== undefined) data.set(old.data.subarray(0, length * width) as Float32Array);
        return hostTensor("float32", [capacity, width], data);
      };
      entry = { length, keys: grow(entry?.keys), values: grow(entry?.values) };
      this.#entries.set(name, entry);
    }
    (entry.keys.data as Float32Array).set(keys.data as Float32Array, length * width);
    (entry.values.data as Float32Array).set(values.data as Float32Array, length * width);
    entry.length = length + count;
    return this.get(layer, row);
  }

  /** Forgets rows that are finished; the remaining ones are numbered anew in the given order. */
  keepRows(rows: readonly number[]): void {
    const kept = new Map<string, Entry>();
    for (const [name, entry] of this.#entries) {
      const [layer, row] = name.split("/");
      const at = rows.indexOf(Number(row));
      if (at >= 0) kept.set(`${layer}/${at}`, entry);
    }
    this.#entries.clear();
    for (const [name, entry] of kept) this.#entries.set(name, entry);
  }
}
