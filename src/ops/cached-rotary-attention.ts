import { attentionSteps } from "../steps/attention.js";
import { ndArray } from "../graph/nd-array.js";
import { cachedAttention, type CachedAttentionAttrs, emitCached } from "./cached-attention.js";
import { defineOp, type Op, shapeMismatch } from "./op.js";
import { rotary } from "./rotary.js";

const { definition } = cachedAttention;

type Inputs = Parameters<typeof definition.evaluate>[0];

/** The inputs without tables, queries and new keys turned by their places in the cache. */
function turned(inputs: readonly Inputs[number][], { heads, keyValueHeads }: CachedAttentionAttrs): Inputs {
  const [query, key, value, keys, values, last, total, layout, cos, sin] = inputs;
  const T = layout!.data[1]!;
  const places = ndArray(
    [query!.dims[0]!],
    Float64Array.from(
      { length: query!.dims[0]! },
      (_, n) => last!.data[Math.floor(n / T)]! + 1 - T + (n % T),
    ),
  );
  const turn = (x: Inputs[number], count: number) =>
    rotary.definition.evaluate([x, cos!, sin!, places], { heads: count });
  return [turn(query!, heads), turn(key!, keyValueHeads), value!, keys!, values!, last!, total!, layout!];
}

/**
 * `cachedAttention` of queries and keys that are turned on the way, as `rotary` does it, by the place that each token gets in the cache: its
 * position. d is a multiple of 16.
 *
 * Shapes: as there, then cos and sin (P, d/2).
 */
export const cachedRotaryAttention: Op<10, CachedAttentionAttrs> = defineOp({
  name: "cachedRotaryAttention",
  arity: 10,
  infer(types, attrs) {
    const [query, key, value, keys, values, last, total, layout, cos] = types;
    if ((cos.shape[1] as number) * 2 !== keys.shape[3])
      throw shapeMismatch("cachedRotaryAttention", "the tables do not fit the heads", types);
    return definition.infer([query, key, value, keys, values, last, total, layout], attrs);
  },
  gradient: definition.gradient as never,
  lower: ({ emit, inputs, types: [{ shape }], attrs }) => emitCached(emit, inputs, shape[1] as number, attrs),
  steps: ({ emit, inputs: [query, key, value, keys, values, places, , , cos, sin], attrs }) =>
    attentionSteps(emit, { query, key, value, keys, values, places, tables: [cos, sin] }, attrs),
  evaluate: (inputs, attrs) => definition.evaluate(turned(inputs, attrs), attrs),
  more: {
    infer: ([, , , keys, values]) => [keys, values],
    evaluate: (inputs, attrs) => definition.more!.evaluate(turned(inputs, attrs), attrs),
  },
  firstOrder: true,
  float32Only: true,
  // Heads of 16 numbers instead of 8.
  samples: definition.samples.map(({ inputs, attrs }) => ({
    inputs: [
      ...inputs.map((input) => {
        const { shape } = input;
        return shape.length > 1 ? { ...input, shape: [...shape.slice(0, -1), 2 * shape.at(-1)!] } : input;
      }),
      { shape: [8, 8] },
      { shape: [8, 8] },
    ],
    attrs,
  })),
});
