import { rotarySteps } from "../steps/attention.js";
import { ndArray } from "../graph/nd-array.js";
import type { Dim } from "../base/tensor-type.js";
import { defineOp, type Op, shapeMismatch } from "./op.js";

/**
 * Rotates the two halves of every head by its token's angles: (a, b) → (a cos − b sin, b cos + a sin).
 *
 * Shapes: x (N, heads · d), cos and sin (P, d/2), positions (N) int64 → (N, heads · d).
 * No gradient flows into the tables.
 *
 * @see Su et al., "RoFormer", arXiv:2104.09864, eq. 34 (halves instead of neighbouring pairs, as in Hugging Face)
 */
export const rotary: Op<4, { readonly heads: number }> = defineOp({
  name: "rotary",
  arity: 4,
  infer([x, cos, sin, positions], { heads }) {
    if (x.shape[1] !== (cos.shape[1] as number) * 2 * heads) {
      throw shapeMismatch("rotary", `the tables do not fit ${heads} heads`, [x, cos, sin, positions]);
    }
    return x;
  },
  gradient: ({ f, dy, inputs: [, cos, sin, positions], attrs }) => [
    f.rotary(dy, cos, f.neg(sin), positions, attrs),
    undefined,
    undefined,
    undefined,
  ],
  lower({ emit, inputs: [x, cos, sin, positions], types: [type], attrs: { heads } }) {
    const row = (name: string, width: Dim) =>
      emit.node("Reshape", [name, emit.constant("int64", [3], [1, -1, width as number])]);
    const y = emit.node(
      "RotaryEmbedding",
      [
        row(x, type.shape[1]!),
        emit.node("Unsqueeze", [positions, emit.constant("int64", [1], [0])]),
        cos,
        sin,
      ],
      { domain: "com.microsoft", attributes: { num_heads: heads } },
    );
    return emit.node("Squeeze", [y, emit.constant("int64", [1], [0])]);
  },
  steps: ({ emit, inputs, attrs: { heads } }) => rotarySteps(emit, inputs, heads),
  evaluate([x, cos, sin, positions], { heads }) {
    const half = cos.dims[1]!;
    const y = ndArray(x.dims);
    for (let n = 0; n < x.dims[0]!; n += 1) {
      for (let h = 0; h < heads; h += 1) {
        for (let i = 0; i < half; i += 1) {
          const at = (n * heads + h) * 2 * half + i;
          const [a, b] = [x.data[at]!, x.data[at + half]!];
          const angle = positions.data[n]! * half + i;
          y.data[at] = a * cos.data[angle]! - b * sin.data[angle]!;
          y.data[at + half] = b * cos.data[angle]! + a * sin.data[angle]!;
        }
      }
    }
    return y;
  },
  float32Only: true,
  samples: [
    {
      inputs: [
        { shape: [3, 16] },
        { shape: [7, 4] },
        { shape: [7, 4] },
        { shape: [3], kind: "index", below: 7, dtype: "int64" },
      ],
      attrs: { heads: 2 },
    },
  ],
});
