import { gradients } from "../autodiff/gradients.js";
import { type Graph, inputValue, type Value } from "../graph/value.js";
import { ops as f } from "../ops/index.js";
import { softCap } from "./activation.js";
import type { AttentionStage } from "./stage.js";

type Sizes = Pick<AttentionStage, "heads" | "keyValueHeads" | "headDim" | "scale" | "cap" | "bias">;

/** Graphs of attention for T queries over S keys of one row. */
export interface AttentionGraphs {
  /**
   * Inputs query, key, value and, where masked, the mask (T, S), and where there is a bias, its table and the rows of it (T, S);
   * output context.
   */
  readonly forward: Graph;
  /**
   * Inputs as above, then d context and, where accumulating, d key and d value so far, and where the bias is trained, d table so far;
   * outputs d query, d key, d value, and d table.
   */
  readonly backward: Graph;
}

interface BiasInputs {
  /** (buckets, H) */
  readonly table: Value;
  /** Rows of the table (T, S). */
  readonly buckets: Value;
}

/**
 * context = softmax(cap(scale · Q Kᵀ) + bias + mask) V. The G = H / K query heads of a key/value head share its keys and values by
 * broadcasting, so these are never repeated, and the products of all heads can run side by side.
 */
function attend(
  [query, key, value]: readonly [Value, Value, Value],
  mask: Value | undefined,
  bias: BiasInputs | undefined,
  sizes: Sizes,
): Value {
  const { heads, keyValueHeads: K, headDim: d, scale } = sizes;
  const G = heads / K;
  const q = f.transpose(f.reshape(query, { shape: ["T", K, G, d] }), { axes: [1, 2, 0, 3] }); // (K, G, T, d)
  const k = f.transpose(f.reshape(key, { shape: ["S", K, 1, d] }), { axes: [1, 2, 0, 3] }); // (K, 1, S, d)
  const v = f.transpose(f.reshape(value, { shape: ["S", K, 1, d] }), { axes: [1, 2, 0, 3] });
  const scores = softCap(f, f.matmul(q, k, { transposeB: true, alpha: scale }), sizes.cap); // (K, G, T, S)
  const biased = bias === undefined ? scores : f.add(scores, spread(bias, K, G));
  const weights = f.softmax(mask === undefined ? biased : f.add(biased, mask));
  const context = f.matmul(weights, v, {}); // (K, G, T, d)
  return f.reshape(f.transpose(context, { axes: [2, 0, 1, 3] }), { shape: ["T", heads * d] });
}

/** The bias of every score, (K, G, T, S). */
function spread({ table, buckets }: BiasInputs, K: number, G: number): Value {
  const rows = f.reshape(f.gather(table, buckets), { shape: ["T", "S", K, G] }); // (T, S, H) before
  return f.transpose(rows, { axes: [2, 3, 0, 1] });
}

/** Builds both graphs. */
export function attentionGraphs(
  sizes: Sizes,
  options: { masked: boolean; accumulate: boolean; trainsBias: boolean },
): AttentionGraphs {
  const { heads, keyValueHeads, headDim } = sizes;
  const input = (name: string, rows: number | string, width: number | string): Value =>
    inputValue(name, { dtype: "float32", shape: [rows, width] });
  const query = input("query", "T", heads * headDim);
  const key = input("key", "S", keyValueHeads * headDim);
  const value = input("value", "S", keyValueHeads * headDim);
  const mask = options.masked ? input("mask", "T", "S") : undefined;
  const bias: BiasInputs | undefined = sizes.bias && {
    table: input("bias", sizes.bias.buckets, heads),
    buckets: inputValue("buckets", { dtype: "int64", shape: ["T", "S"] }),
  };
  const context = attend([query, key, value], mask, bias, sizes);
  const inputs = [query, key, value];
  if (mask !== undefined) inputs.push(mask);
  if (bias !== undefined) inputs.push(bias.table, bias.buckets);
  const dContext = input("d_context", "T", heads * headDim);
  const wrt = [query, key, value, ...(bias !== undefined && options.trainsBias ? [bias.table] : [])];
  const found = gradients(new Map([[context, dContext]]), wrt) as Value[];
  // Gradients so far; that of a bias is a sum over all rows and layers.
  const rest = wrt.map((x, i) =>
    (i > 0 && i < 3 && options.accumulate) || i === 3 ? inputValue(`rest_${i}`, x.type) : undefined,
  );
  return {
    forward: { name: "attention", inputs, outputs: [context] },
    backward: {
      name: "attention_backward",
      inputs: [...inputs, dContext, ...rest.filter((sofar) => sofar !== undefined)],
      outputs: found.map((dx, i) => (rest[i] === undefined ? dx : f.add(dx, rest[i]))),
    },
  };
}
