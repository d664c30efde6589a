const BYTES = 64 * 2 ** 20;

/**
 * Hands out float32 memory from few large blocks, for arrays that live as long as each other. The engine collects garbage whenever
 * much memory outside its heap is asked for, so hundreds of large arrays would cost dozens of collections.
 */
export class Slab {
  #block = new ArrayBuffer(0);
  #used = 0;

  take(count: number): Float32Array {
    const bytes = 4 * count;
    if (this.#used + bytes > this.#block.byteLength) {
      this.#block = new ArrayBuffer(Math.max(BYTES, bytes));
      this.#used = 0;
    }
    const array = new Float32Array(this.#block, this.#used, count);
    // Vector instructions read aligned memory faster.
    this.#used += Math.ceil(bytes / 64) * 64;
    return array;
  }
}
