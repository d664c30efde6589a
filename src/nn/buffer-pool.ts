import { BYTES_PER_ELEMENT, type DType } from "../base/tensor-type.js";
import { elementCount, type HostTensor, viewData } from "../base/host-tensor.js";

/** Sizes are rounded up to an eighth of a power of two, so that batches of similar length share buffers. */
function sizeClass(bytes: number): number {
  const unit = Math.max(4096, 2 ** (Math.ceil(Math.log2(Math.max(bytes, 1))) - 3));
  return Math.ceil(bytes / unit) * unit;
}

/** Memory for activations, handed out and taken back; nothing new is allocated once a step has been seen. */
export class BufferPool {
  readonly #free = new Map<number, ArrayBuffer[]>();
  readonly #owned = new WeakMap<HostTensor, ArrayBuffer>();
  /** Bytes handed out now, the most there ever were, and all bytes held. */
  inUse = 0;
  peak = 0;
  held = 0;

  acquire(dtype: DType, dims: readonly number[]): HostTensor {
    const count = elementCount(dims);
    const bytes = sizeClass(count * BYTES_PER_ELEMENT[dtype]);
    const buffer = this.#free.get(bytes)?.pop() ?? this.#allocate(bytes);
    this.inUse += bytes;
    this.peak = Math.max(this.peak, this.inUse);
    const tensor = { dtype, dims, data: viewData(dtype, buffer, 0, count) };
    this.#owned.set(tensor, buffer);
    return tensor;
  }

  #allocate(bytes: number): ArrayBuffer {
    // A batch of another length leaves free blocks that it cannot use: they go before new ones come.
    if (this.held - this.inUse > bytes) this.trim();
    this.held += bytes;
    return new ArrayBuffer(bytes);
  }

  /** Takes a tensor back; its elements must not be used again. */
  release(tensor: HostTensor): void {
    const buffer = this.#owned.get(tensor);
    if (buffer === undefined) return;
    this.#owned.delete(tensor);
    this.inUse -= buffer.byteLength;
    const free = this.#free.get(buffer.byteLength);
    if (free === undefined) this.#free.set(buffer.byteLength, [buffer]);
    else free.push(buffer);
  }

  /** Lets go of everything that is not handed out. */
  trim(): void {
    for (const [bytes, buffers] of this.#free) this.held -= bytes * buffers.length;
    this.#free.clear();
  }
}

/** Rows start … end − 1 of a tensor, in place. */
export function rowsOf(tensor: HostTensor, start: number, end: number): HostTensor {
  const width = elementCount(tensor.dims.slice(1));
  const data = tensor.data.subarray(start * width, end * width) as HostTensor["data"];
  return { dtype: tensor.dtype, dims: [end - start, ...tensor.dims.slice(1)], data };
}
