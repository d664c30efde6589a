import { type SharedMemory, webAssembly } from "./web-assembly.js";

/** Bytes that every piece begins at a multiple of: a line of the cache. */
const LINE = 64;

/** Bytes of a page of WebAssembly. */
const PAGE = 65_536;

/** Bytes that the memory grows by at least. */
const LEAST_GROWTH = 16 * 2 ** 20;

/** What a 32-bit address reaches. */
const MOST_PAGES = 65_536;

const roundUp = (size: number, unit: number): number => Math.ceil(size / unit) * unit;

/** Hands out pieces of a memory that threads share, which grows as they are asked for. */
export class Arena {
  readonly memory: SharedMemory = new webAssembly.Memory({ initial: 1, maximum: MOST_PAGES, shared: true });
  /** Pieces that were given back: bytes by address. */
  readonly #spare = new Map<number, number>();
  readonly #sizes = new Map<number, number>();
  /** Buffers that arrays were made over. */
  readonly #buffers = new WeakSet<ArrayBufferLike>();
  /** The first line stays free: no piece has the address 0. */
  #end = LINE;

  /** The address of so many bytes, all zero; undefined where 4 GiB are full or the system has no memory. */
  allocate(bytes: number): number | undefined {
    const size = roundUp(Math.max(bytes, 1), LINE);
    const address = this.#reuse(size) ?? this.#grow(size);
    if (address !== undefined) this.#sizes.set(address, size);
    return address;
  }

  /** The smallest spare piece of a half more at most. */
  #reuse(size: number): number | undefined {
    let best: number | undefined;
    for (const [address, held] of this.#spare)
      if (held >= size && held <= size * 1.5 && held < (this.#spare.get(best ?? -1) ?? Infinity))
        best = address;
    if (best === undefined) return undefined;
    const held = this.#spare.get(best)!;
    this.#spare.delete(best);
    new Uint8Array(this.memory.buffer, best, held).fill(0);
    return best;
  }

  #grow(size: number): number | undefined {
    const address = this.#end;
    const missing = address + size - this.memory.buffer.byteLength;
    if (missing > 0) {
      const pages = roundUp(Math.max(missing, LEAST_GROWTH), PAGE) / PAGE;
      const held = this.memory.buffer.byteLength / PAGE;
      try {
        this.memory.grow(Math.min(pages, Math.max(MOST_PAGES - held, Math.ceil(missing / PAGE))));
      } catch {
        return undefined;
      }
    }
    this.#end += size;
    return address;
  }

  /** Takes a piece back. */
  free(address: number): void {
    const size = this.#sizes.get(address);
    if (size === undefined) return;
    this.#sizes.delete(address);
    this.#spare.set(address, size);
  }

  /** Where an array is that was made of one of its pieces; undefined of any other. */
  addressOf({ buffer, byteOffset }: ArrayBufferView<ArrayBufferLike>): number | undefined {
    return this.#buffers.has(buffer) && this.#sizes.has(byteOffset) ? byteOffset : undefined;
  }

  /** Bytes of the memory. */
  get bytes(): number {
    return this.memory.buffer.byteLength;
  }

  floats(address: number, count: number): Float32Array<ArrayBufferLike> {
    return new Float32Array(this.#buffer, address, count);
  }

  bytesAt(address: number, count: number): Uint8Array<ArrayBufferLike> {
    return new Uint8Array(this.#buffer, address, count);
  }

  get #buffer(): SharedArrayBuffer {
    const { buffer } = this.memory;
    this.#buffers.add(buffer);
    return buffer;
  }
}
