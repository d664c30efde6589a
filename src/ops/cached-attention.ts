import { attentionSteps } from "../steps/attention.js";
import { UnsupportedError } from "../base/errors.js";
import { type NdArray, ndArray } from "../graph/nd-array.js";
import type { Emitter } from "../onnx/emitter.js";
import { defineOp, type Op, shapeMismatch } from "./op.js";

/** What attention over a cache needs to know beside its tensors. */
export interface CachedAttentionAttrs {
  readonly heads: number;
  readonly keyValueHeads: number;
  /** Factor on query · key. */
  readonly scale: number;
  /** Scores are bent down to this: cap · tanh(score / cap). */
  readonly cap?: number | undefined;
  /** Tokens see this many positions, themselves included. */
  readonly window?: number | undefined;
}

/** A cache with the new tokens behind those of every row; places that no token has are zero. */
function appended(
  past: NdArray,
  fresh: NdArray,
  last: NdArray,
  [B, T]: readonly [B: number, T: number],
): NdArray {
  const [, K, C, d] = past.dims as [number, number, number, number];
  const y = ndArray(past.dims, past.data.slice());
  for (let b = 0; b < B; b += 1) {
    const start = last.data[b]! + 1 - T;
    for (let k = 0; k < K; k += 1) y.data.fill(0, ((b * K + k) * C + start) * d, (b * K + k + 1) * C * d);
    for (let t = 0; t < T; t += 1)
      for (let k = 0; k < K; k += 1) {
        const from = ((b * T + t) * K + k) * d;
        y.data.set(fresh.data.subarray(from, from + d), ((b * K + k) * C + start + t) * d);
      }
  }
  return y;
}

const rowsAndTokens = (layout: NdArray): readonly [B: number, T: number] => [
  layout.data[0]!,
  layout.data[1]!,
];

/** Emits the node of attention over a cache, given its tensors and, where it turns queries and keys, the tables. */
export function emitCached(
  emit: Emitter,
  [query, key, value, keys, values, last, total, layout, ...tables]: readonly string[],
  width: number,
  { heads, keyValueHeads, scale, cap, window }: CachedAttentionAttrs,
): readonly string[] {
  const tokens = [query, key, value].map((x) => emit.node("Reshape", [x!, layout!]));
  const inputs = [...tokens, keys!, values!, last!, total!, ...tables];
  const attended = emit.node("GroupQueryAttention", inputs, {
    domain: "com.microsoft",
    outputs: 3,
    attributes: {
      num_heads: heads,
      kv_num_heads: keyValueHeads,
      scale: { float: scale },
      ...(cap !== undefined && { softcap: { float: cap } }),
      ...(window !== undefined && { local_window_size: window }),
      ...(tables.length > 0 && { do_rotary: 1 }),
    },
  });
  const context = emit.node("Reshape", [attended, emit.constant("int64", [2], [-1, width])]);
  return [context, `${attended}_1`, `${attended}_2`];
}

/**
 * Causal attention of T new tokens in each of B rows over these and those in a cache, to whose rows they are appended: beside the
 * context, its node gives the keys and values with the new ones, which may be written into the cache itself. Groups of H / K heads share
 * keys; d is a multiple of 8.
 *
 * Shapes, with N = B T: query (N, H d), key and value (N, K d), cached keys and values (B, K, C, d), place of the last new token of each
 * row (B) int32, one more than the largest of these (1) int32, layout [B, T, −1] (3) int64 → context (N, H d); keys and values (B, K, C, d).
 * Either T = 1, or B = 1.
 */
export const cachedAttention: Op<8, CachedAttentionAttrs> = defineOp({
  name: "cachedAttention",
  arity: 8,
  infer(types, { heads, keyValueHeads }) {
    const [query, key, value, keys, values] = types;
    const [, K, , d] = keys.shape;
    const fits =
      K === keyValueHeads &&
      query.shape[1] === heads * (d as number) &&
      key.shape[1] === keyValueHeads * (d as number) &&
      String(value.shape) === String(key.shape) &&
      String(values.shape) === String(keys.shape);
    if (!fits)
      throw shapeMismatch(
        "cachedAttention",
        `tokens and cache do not fit ${heads} and ${keyValueHeads} heads`,
        types,
      );
    return query;
  },
  gradient() {
    throw new UnsupportedError({
      code: "cached_gradient",
      summary: "cachedAttention has no gradient: what is trained runs without a cache.",
    });
  },
  lower: ({ emit, inputs, types: [{ shape }], attrs }) => emitCached(emit, inputs, shape[1] as number, attrs),
  steps: ({ emit, inputs: [query, key, value, keys, values, places], attrs }) =>
    attentionSteps(emit, { query, key, value, keys, values, places }, attrs),
  evaluate([query, key, value, pastKeys, pastValues, last, , layout], attrs) {
    const { heads, keyValueHeads, scale, cap, window = Infinity } = attrs;
    const [B, T] = rowsAndTokens(layout);
    const keys = appended(pastKeys, key, last, [B, T]);
    const values = appended(pastValues, value, last, [B, T]);
    const [, , C, d] = keys.dims as [number, number, number, number];
    const y = ndArray(query.dims);
    for (let n = 0; n < B * T; n += 1) {
      const b = Math.floor(n / T);
      const place = last.data[b]! + 1 - T + (n % T);
      const first = Math.max(0, place + 1 - window);
      for (let h = 0; h < heads; h += 1) {
        const group = b * keyValueHeads + Math.floor((h * keyValueHeads) / heads);
        const row = (cache: NdArray, s: number): Float64Array =>
          cache.data.subarray((group * C + s) * d, (group * C + s + 1) * d) as Float64Array;
        const own = query.data.subarray((n * heads + h) * d, (n * heads + h + 1) * d);
        const shares = Array.from({ length: place + 1 - first }, (_, i) => {
          const score = scale * row(keys, first + i).reduce((sum, x, j) => sum + x * own[j]!, 0);
          return Math.exp(cap === undefined ? score : cap * Math.tanh(score / cap));
        });
        const total = shares.reduce((sum, share) => sum + share, 0);
        for (const [i, share] of shares.entries())
          row(values, first + i).forEach((x, j) => (y.data[(n * heads + h) * d + j]! += (share / total) * x));
      }
    }
    return y;
  },
  more: {
    infer: ([, , , keys, values]) => [keys, values],
    evaluate: ([, key, value, pastKeys, pastValues, last, , layout]) => [
      appended(pastKeys, key, last, rowsAndTokens(layout)),
      appended(pastValues, value, last, rowsAndTokens(layout)),
    ],
  },
  firstOrder: true,
  float32Only: true,
  samples: [
    // Three rows of different lengths with one new token each.
    { B: 3, T: 1, places: [4, 0, 6], attrs: { heads: 4, keyValueHeads: 2, scale: 0.5 } },
    { B: 3, T: 1, places: [4, 0, 6], attrs: { heads: 2, keyValueHeads: 2, scale: 0.4, window: 3 } },
    // A row from its start, and one that goes on.
    { B: 1, T: 5, places: [4], attrs: { heads: 4, keyValueHeads: 1, scale: 0.5, cap: 0.8 } },
    { B: 1, T: 5, places: [6], attrs: { heads: 4, keyValueHeads: 2, scale: 0.5 } },
    { B: 1, T: 5, places: [6], attrs: { heads: 2, keyValueHeads: 2, scale: 0.5, window: 3 } },
  ].map(({ B, T, places, attrs }) => {
    const [C, d] = [8, 8];
    const { heads, keyValueHeads: K } = attrs;
    return {
      inputs: [
        { shape: [B * T, heads * d] },
        { shape: [B * T, K * d] },
        { shape: [B * T, K * d] },
        { shape: [B, K, C, d] },
        { shape: [B, K, C, d] },
        { shape: [B], dtype: "int32", values: places },
        { shape: [1], dtype: "int32", values: [Math.max(...places) + 1] },
        { shape: [3], dtype: "int64", values: [B, T, -1] },
      ],
      attrs,
    };
  }),
});
