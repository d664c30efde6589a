/** How distances become rows of a table of biases. */
export interface BucketOptions {
  readonly buckets: number;
  /** Keys at this distance and beyond share the last bucket. */
  readonly maxDistance: number;
  /** Whether keys behind the query have buckets of their own; else they share that of distance 0. */
  readonly bidirectional: boolean;
}

/**
 * The bucket of a key that stands `offset` positions behind the query: one a position for small distances, then ranges that grow
 * with the logarithm of the distance.
 *
 * Computed in single precision like the reference, so that borders fall where they fall there.
 *
 * @see Raffel et al., "Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer", arXiv:1910.10683, §2.1
 */
export function relativeBucket(offset: number, options: BucketOptions): number {
  const { bidirectional, maxDistance } = options;
  const count = bidirectional ? Math.floor(options.buckets / 2) : options.buckets;
  const first = bidirectional && offset > 0 ? count : 0;
  const distance = bidirectional ? Math.abs(offset) : Math.max(0, -offset);
  const exact = Math.floor(count / 2);
  if (distance < exact) return first + distance;
  const { fround, log } = Math;
  const share = fround(fround(log(fround(distance / exact))) / fround(log(maxDistance / exact)));
  return first + Math.min(count - 1, exact + Math.trunc(fround(share * (count - exact))));
}
