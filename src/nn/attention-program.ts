import { gradients } from "../autodiff/gradients.js";
import { type Graph, inputValue, type Value } from "../graph/value.js";
import { ops as f } from "../ops/index.js";
import { softCap } from "./activation.js";
import type { AttentionStage } from "./stage.js";

type Sizes = Pick<AttentionStage, "heads" | "keyValueHeads" | "headDim" | "scale" | "cap">;

/** Graphs of attention for T queries over S keys of one row. */
export interface AttentionGraphs {
  /** Inputs query, key, value and, where masked, the mask (T, S); output context. */
  readonly forward: Graph;
  /** Inputs as above, then d context and, where accumulating, d key and d value so far; outputs d query, d key, d value. */
  readonly backward: Graph;
}

/**
 * context = softmax(cap(scale · Q Kᵀ) + mask) V. The G = H / K query heads of a key/value head share its keys and values by
 * broadcasting, so these are never repeated, and the products of all heads can run side by side.
 */
function attend(query: Value, key: Value, value: Value, mask: Value | undefined, sizes: Sizes): Value {
  const { heads, keyValueHeads: K, headDim: d, scale } = sizes;
  const G = heads / K;
  const q = f.transpose(f.reshape(query, { shape: ["T", K, G, d] }), { axes: [1, 2, 0, 3] }); // (K, G, T, d)
  const k = f.transpose(f.reshape(key, { shape: ["S", K, 1, d] }), { axes: [1, 2, 0, 3] }); // (K, 1, S, d)
  const v = f.transpose(f.reshape(value, { shape: ["S", K, 1, d] }), { axes: [1, 2, 0, 3] });
  const scores = softCap(f, f.matmul(q, k, { transposeB: true, alpha: scale }), sizes.cap); // (K, G, T, S)
  const weights = f.softmax(mask === undefined ? scores : f.add(scores, mask));
  const context = f.matmul(weights, v, {}); // (K, G, T, d)
  return f.reshape(f.transpose(context, { axes: [2, 0, 1, 3] }), { shape: ["T", heads * d] });
}

/** Builds both graphs. */
export function attentionGraphs(
  sizes: Sizes,
  options: { masked: boolean; accumulate: boolean },
): AttentionGraphs {
  const { heads, keyValueHeads, headDim } = sizes;
  const input = (name: string, rows: string, width: number | string): Value =>
    inputValue(name, { dtype: "float32", shape: [rows, width] });
  const query = input("query", "T", heads * headDim);
  const key = input("key", "S", keyValueHeads * headDim);
  const value = input("value", "S", keyValueHeads * headDim);
  const mask = options.masked ? input("mask", "T", "S") : undefined;
  const context = attend(query, key, value, mask, sizes);
  const inputs = mask === undefined ? [query, key, value] : [query, key, value, mask];
  const dContext = input("d_context", "T", heads * headDim);
  const [dQuery, dKey, dValue] = gradients(new Map([[context, dContext]]), [query, key, value]) as [
    Value,
    Value,
    Value,
  ];
  const rest = options.accumulate
    ? [inputValue("rest_key", key.type), inputValue("rest_value", value.type)]
    : [];
  const sum = (dx: Value, sofar: Value | undefined): Value => (sofar === undefined ? dx : f.add(dx, sofar));
  return {
    forward: { name: "attention", inputs, outputs: [context] },
    backward: {
      name: "attention_backward",
      inputs: [...inputs, dContext, ...rest],
      outputs: [dQuery, sum(dKey, rest[0]), sum(dValue, rest[1])],
    },
  };
}
