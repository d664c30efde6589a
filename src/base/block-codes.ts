import { Rounding } from "./code-books.js";
import { dynamicMap } from "./dynamic-map.js";

/** Values of one block, which share a magnitude. */
export const BLOCK_SIZE = 256;

interface Book {
  readonly map: Float32Array;
  readonly rounding: Rounding;
}

const book = (signed: boolean): Book => {
  const map = dynamicMap(signed);
  return { map, rounding: new Rounding(map) };
};

const BOOKS = { signed: book(true), unsigned: book(false) };

/** How many blocks hold so many values. */
export const blockCount = (size: number): number => Math.ceil(size / BLOCK_SIZE);

/**
 * Values in codes of 8 bits: value = map[code] · absmax of its block, with the numbers of {@link dynamicMap}; zero at first.
 *
 * @see Dettmers et al., "8-bit Optimizers via Block-wise Quantization", arXiv:2110.02861, §2.1
 */
export class BlockCodes {
  readonly codes: Uint8Array;
  /** The largest magnitude of each block. */
  readonly absmax: Float32Array;
  readonly #book: Book;

  constructor(size: number, kind: keyof typeof BOOKS) {
    this.codes = new Uint8Array(size);
    this.absmax = new Float32Array(blockCount(size));
    this.#book = BOOKS[kind];
  }

  /** The values of a block, written to the start of `out`. */
  decode(block: number, out: Float32Array): void {
    const { map } = this.#book;
    const from = block * BLOCK_SIZE;
    const to = Math.min(from + BLOCK_SIZE, this.codes.length);
    const scale = this.absmax[block]!;
    for (let i = from; i < to; i += 1) out[i - from] = map[this.codes[i]!]! * scale;
  }

  /** Puts a block into codes: the nearest numbers, over the largest magnitude. */
  encode(block: number, values: Float32Array): void {
    const { rounding } = this.#book;
    const from = block * BLOCK_SIZE;
    const count = Math.min(BLOCK_SIZE, this.codes.length - from);
    let largest = 0;
    for (let i = 0; i < count; i += 1) {
      const size = Math.abs(values[i]!);
      if (size > largest) largest = size;
    }
    const divisor = largest === 0 ? 1 : largest;
    for (let i = 0; i < count; i += 1)
      this.codes[from + i] = rounding.code(Math.fround(values[i]! / divisor));
    this.absmax[block] = largest;
  }
}
