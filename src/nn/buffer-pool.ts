import { BYTES_PER_ELEMENT, type DType } from "../base/tensor-type.js";
import { countDropped, countedBuffer, type LargeBuffers } from "../base/large-buffer.js";
import { elementCount, type HostTensor, viewData } from "../base/host-tensor.js";

const ALIGNMENT = 4096;

/** Bytes up to which free blocks are kept whatever their sizes: what is dropped waits for the garbage collector, which may be long in coming. */
const KEPT_BYTES = 64 * 2 ** 20;

/** A free block serves a request that fills at least this share of it. */
const LEAST_FILL = 0.6;

/** Memory for activations, handed out and taken back; nothing new is allocated once batches of a size have been seen. */
export class BufferPool {
  /** Free blocks, smallest first. */
  #free: ArrayBuffer[] = [];
  readonly #owned = new WeakMap<HostTensor, ArrayBuffer>();
  /** Bytes handed out now, the most there ever were, and all bytes held. */
  inUse = 0;
  peak = 0;
  held = 0;
  /** Bytes that are not exceeded while free blocks can be let go. */
  limit = Infinity;

  constructor(readonly buffers: LargeBuffers = countedBuffer) {}

  acquire(dtype: DType, dims: readonly number[]): HostTensor {
    const count = elementCount(dims);
    const bytes = Math.max(1, Math.ceil((count * BYTES_PER_ELEMENT[dtype]) / ALIGNMENT)) * ALIGNMENT;
    const buffer = this.#take(bytes) ?? this.#allocate(bytes);
    this.inUse += buffer.byteLength;
    this.peak = Math.max(this.peak, this.inUse);
    const tensor = { dtype, dims, data: viewData(dtype, buffer, 0, count) };
    this.#owned.set(tensor, buffer);
    return tensor;
  }

  /** Index of the first free block of at least so many bytes. */
  #search(bytes: number): number {
    let [low, high] = [0, this.#free.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#free[middle]!.byteLength < bytes) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #take(bytes: number): ArrayBuffer | undefined {
    const at = this.#search(bytes);
    const block = this.#free[at];
    if (block === undefined || bytes < LEAST_FILL * block.byteLength) return undefined;
    this.#free.splice(at, 1);
    return block;
  }

  #allocate(bytes: number): ArrayBuffer {
    // Batches of another size leave blocks that nothing fits any more: as much as comes is let go, the largest first.
    const before = this.held;
    const crowded = (): boolean =>
      this.held + bytes > KEPT_BYTES && this.held - this.inUse > this.inUse + bytes;
    for (let freed = 0; freed < bytes && crowded();) freed += this.#drop();
    while (this.held + bytes > this.limit && this.#free.length > 0) this.#drop();
    this.#count(before - this.held);
    this.held += bytes;
    return this.buffers(bytes);
  }

  /** Lets go of the largest free block. */
  #drop(): number {
    const { byteLength } = this.#free.pop()!;
    this.held -= byteLength;
    return byteLength;
  }

  #count(bytes: number): void {
    if (this.buffers !== countedBuffer) countDropped(bytes);
  }

  /** Takes a tensor back; its elements must not be used again. */
  release(tensor: HostTensor): void {
    const buffer = this.#owned.get(tensor);
    if (buffer === undefined) return;
    this.#owned.delete(tensor);
    this.inUse -= buffer.byteLength;
    this.#free.splice(this.#search(buffer.byteLength), 0, buffer);
  }

  /** Lets go of everything that is not handed out. */
  trim(): void {
    const before = this.held;
    while (this.#free.length > 0) this.#drop();
    this.#count(before - this.held);
  }
}

/** Rows start … end − 1 of a tensor, in place. */
export function rowsOf(tensor: HostTensor, start: number, end: number): HostTensor {
  const width = elementCount(tensor.dims.slice(1));
  const data = tensor.data.subarray(start * width, end * width) as HostTensor["data"];
  return { dtype: tensor.dtype, dims: [end - start, ...tensor.dims.slice(1)], data };
}
