import type { ScratchFile, ScratchPart } from "../files/scratch-file.js";
import { type HostTensor, tensorBytes } from "../base/host-tensor.js";
import type { BufferPool } from "./buffer-pool.js";
import type { Slot } from "./plan.js";

/** Tensors on their way to the file hold at most this much memory. */
const WRITING_BYTES = 64 * 2 ** 20;

interface Offloaded {
  readonly dtype: HostTensor["dtype"];
  readonly dims: readonly number[];
  readonly part: ScratchPart;
  readonly written: Promise<void>;
  /** The tensor as it is being read back. */
  reading?: Promise<HostTensor>;
}

/** What the backward pass reads again, in a file until then; bytes come back as they were. */
export class OffloadedTensors {
  readonly #held = new Map<Slot, Offloaded>();
  readonly #writing = new Set<Offloaded>();

  constructor(
    readonly file: ScratchFile,
    readonly pool: BufferPool,
  ) {}

  has(slot: Slot): boolean {
    return this.#held.has(slot);
  }

  /** Takes a tensor over: its memory is free once it is written. */
  async put(slot: Slot, tensor: HostTensor): Promise<void> {
    const bytes = tensorBytes(tensor);
    const part = this.file.reserve(bytes.byteLength);
    const written = this.file.write(part, bytes).finally(() => {
      this.pool.release(tensor);
      this.#writing.delete(entry);
    });
    // Whoever waits for it or reads it back gets the error; nobody may.
    written.catch(() => undefined);
    const entry: Offloaded = { dtype: tensor.dtype, dims: tensor.dims, part, written };
    this.#held.set(slot, entry);
    this.#writing.add(entry);
    await this.#settle();
  }

  /** Waits for the oldest writes while there are too many. */
  async #settle(): Promise<void> {
    let bytes = 0;
    for (const { part } of this.#writing) bytes += part.byteLength;
    for (const { part, written } of this.#writing) {
      if (bytes <= WRITING_BYTES) return;
      await written;
      bytes -= part.byteLength;
    }
  }

  /** Starts to read tensors that are needed soon. */
  ahead(slots: Iterable<Slot>): void {
    for (const slot of slots) {
      const entry = this.#held.get(slot);
      if (entry === undefined || entry.reading !== undefined) continue;
      entry.reading = this.#read(entry);
      entry.reading.catch(() => undefined);
    }
  }

  async #read({ dtype, dims, part, written }: Offloaded): Promise<HostTensor> {
    await written;
    const tensor = this.pool.acquire(dtype, dims);
    try {
      await this.file.read(part, tensorBytes(tensor));
    } catch (error) {
      this.pool.release(tensor);
      throw error;
    }
    return tensor;
  }

  /** Gives a tensor back. */
  async take(slot: Slot): Promise<HostTensor> {
    this.ahead([slot]);
    const tensor = await this.#held.get(slot)!.reading!;
    this.#held.delete(slot);
    this.file.free();
    return tensor;
  }

  /** Gives up all tensors; what is being written or read is let finish first. */
  release(): void {
    for (const { written, reading } of this.#held.values()) {
      const idle = Promise.allSettled([written, reading?.then((tensor) => this.pool.release(tensor))]);
      void idle.then(() => this.file.free());
    }
    this.#held.clear();
  }
}
