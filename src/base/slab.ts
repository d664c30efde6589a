import type { LargeBuffers } from "./large-buffer.js";

const BYTES = 64 * 2 ** 20;

/** Hands out memory from few large blocks, for arrays that live as long as each other. */
export class Slab {
  #block = new ArrayBuffer(0);
  #used = 0;

  constructor(readonly buffers: LargeBuffers) {}

  /** So many bytes, of which nothing was read yet. */
  take(bytes: number): { readonly buffer: ArrayBuffer; readonly byteOffset: number } {
    if (this.#used + bytes > this.#block.byteLength) {
      this.#block = this.buffers(Math.max(BYTES, bytes));
      this.#used = 0;
    }
    const byteOffset = this.#used;
    // Vector instructions read aligned memory faster.
    this.#used += Math.ceil(bytes / 64) * 64;
    return { buffer: this.#block, byteOffset };
  }
}
