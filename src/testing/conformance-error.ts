import { PeftError } from "../base/errors.js";

/** A method does not do what every method has to do, or what it declares. */
export class ConformanceError extends PeftError {}

/** Throws a {@link ConformanceError} unless a condition holds. */
export function require(
  holds: boolean,
  code: string,
  summary: () => string,
  facts: () => readonly (readonly [string, string])[] = () => [],
): void {
  if (!holds) throw new ConformanceError({ code, summary: summary(), facts: facts() });
}

/** Whether two arrays are the same to the last bit. */
export const sameBits = (a: ArrayLike<number>, b: ArrayLike<number>): boolean =>
  a.length === b.length && Array.prototype.every.call(a, (value, i) => Object.is(value, b[i]));

/** The largest |a − b| / (1 + |b|); NaN where an entry is no number. */
export function largestGap(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let worst = a.length === b.length ? 0 : Number.NaN;
  for (let i = 0; i < b.length; i += 1) {
    const gap = Math.abs(a[i]! - b[i]!) / (1 + Math.abs(b[i]!));
    if (!(gap <= worst)) worst = gap;
  }
  return worst;
}
