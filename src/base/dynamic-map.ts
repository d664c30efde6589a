/** n numbers from a to b with equal steps, in float32, counted from the nearer end. */
function evenly(a: number, b: number, n: number): Float32Array {
  const step = Math.fround((Math.fround(b) - Math.fround(a)) / (n - 1));
  return Float32Array.from({ length: n }, (_, i) =>
    i < n / 2 ? Math.fround(a) + step * i : Math.fround(b) - step * (n - 1 - i),
  );
}

/**
 * The numbers of 8-bit codes whose steps grow with their size: 7 decades below 1, the finest steps in the highest. Codes are by
 * rising value; without signs one more bit is left for fractions.
 *
 * @see Dettmers, "8-Bit Approximations for Parallelism in Deep Learning", arXiv:1511.04561
 */
export function dynamicMap(signed: boolean): Float32Array {
  const decades = 7;
  const values: number[] = [0, 1];
  for (let decade = 0; decade < decades; decade += 1) {
    const ends = evenly(0.1, 1, 2 ** (signed ? decade : decade + 1) + 1);
    const factor = Math.fround(10 ** (decade - decades + 1));
    for (let i = 0; i + 1 < ends.length; i += 1) {
      const size = Math.fround(factor * (Math.fround(ends[i]! + ends[i + 1]!) / 2));
      values.push(size);
      if (signed) values.push(-size);
    }
  }
  return Float32Array.from(values).sort();
}
