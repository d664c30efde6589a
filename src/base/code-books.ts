/** The numbers that codes of 4 bits stand for, as bitsandbytes names them. */
export const codeBooks = {
  /** Quantiles of the normal distribution (NormalFloat4, QLoRA, arXiv:2305.14314, appendix E). */
  nf4: Float32Array.of(
    -1,
    -0.6961928009986877,
    -0.5250730514526367,
    -0.39491748809814453,
    -0.28444138169288635,
    -0.18477343022823334,
    -0.09105003625154495,
    0,
    0.07958029955625534,
    0.16093020141124725,
    0.24611230194568634,
    0.33791524171829224,
    0.44070982933044434,
    0.5626170039176941,
    0.7229568362236023,
    1,
  ),
  /** A sign, two bits of exponent and one of fraction, over the largest such number. */
  fp4: Float32Array.of(0, 0.0625, 8, 12, 4, 6, 2, 3, 0, -0.0625, -8, -12, -4, -6, -2, -3).map((x) => x / 12),
} as const;

export type QuantType = keyof typeof codeBooks;

/** The names of the code books. */
export const quantTypes = Object.keys(codeBooks) as QuantType[];

/** Numbers from −1 to 1 are looked up in cells of this many a unit. */
const CELLS = 128;

/** How numbers from −1 to 1 are rounded to the nearest of a code book; of two that are as near, to the lower one. */
export class Rounding {
  /** Codes by rising value. */
  readonly #order: Uint8Array;
  /** Halfway between neighbours. */
  readonly #bounds: Float32Array;
  /** How many bounds are below each cell. */
  readonly #below: Uint16Array;

  constructor(book: Float32Array) {
    const order = Uint8Array.from([...book.keys()].sort((a, b) => book[a]! - book[b]! || a - b));
    const bounds = Float32Array.from(
      { length: book.length - 1 },
      (_, i) => Math.fround(book[order[i]!]! + book[order[i + 1]!]!) / 2,
    );
    this.#order = order;
    this.#bounds = bounds;
    let below = 0;
    this.#below = Uint16Array.from({ length: 2 * CELLS + 2 }, (_, cell) => {
      while (below < bounds.length && bounds[below]! < cell / CELLS - 1) below += 1;
      return below;
    });
  }

  /** The code of a number; what lies beyond −1 or 1 gets the code of these. */
  code(value: number): number {
    const x = value > 1 ? 1 : value < -1 ? -1 : value;
    const cell = ((x + 1) * CELLS) | 0;
    const bounds = this.#bounds;
    let low = this.#below[cell]!;
    let high = this.#below[cell + 1]!;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (bounds[middle]! < x) low = middle + 1;
      else high = middle;
    }
    return this.#order[low]!;
  }
}
