import { gradients } from "../autodiff/gradients.js";
import { type Graph, inputValue, type Value } from "../graph/value.js";
import { ops as f } from "../ops/index.js";
import { softCap } from "./activation.js";
import type { AttentionStage } from "./stage.js";

type Sizes = Pick<AttentionStage, "heads" | "keyValueHeads" | "headDim" | "scale" | "cap" | "bias">;

/** Graphs of attention for T queries over S keys of one row. */
export interface AttentionGraphs {
  /**
   * Inputs query (T, K, G, d), key and value (S, K, 1, d) and, where masked, the mask (T, S), and where there is a bias, its table and
   * the rows of it (T, S); output context (T, K, G, d).
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
  const { heads, keyValueHeads, scale } = sizes;
  const [q, k, v] = [query, key, value].map((x) => f.transpose(x, { axes: [1, 2, 0, 3] })) as [
    Value,
    Value,
    Value,
  ];
  // (K, G, T, d) by (K, 1, S, d)
  const scores = softCap(f, f.matmul(q, k, { transposeB: true, alpha: scale }), sizes.cap); // (K, G, T, S)
  const biased =
    bias === undefined ? scores : f.add(scores, spread(bias, keyValueHeads, heads / keyValueHeads));
  const weights = f.softmax(mask === undefined ? biased : f.add(biased, mask));
  const context = f.matmul(weights, v, {}); // (K, G, T, d)
  return f.transpose(context, { axes: [2, 0, 1, 3] });
}

/** The bias of every score, (K, G, T, S). */
function spread({ table, buckets }: BiasInputs, K: number, G: number): Value {
  const rows = f.reshape(f.gather(table, buckets), { shape: ["T", "S", K, G] }); // (T, S, H) before
  return f.transpose(rows, { axes: [2, 3, 0, 1] });
}

/** How the row of a query, and of a key or value, is made up of heads: (K, G, d) and (K, 1, d). */
export function headShapes({
  heads,
  keyValueHeads: K,
  headDim,
}: Pick<Sizes, "heads" | "keyValueHeads" | "headDim">): readonly [query: number[], key: number[]] {
  return [
    [K, heads / K, headDim],
    [K, 1, headDim],
  ];
}

/** Builds both graphs. */
export function attentionGraphs(
  sizes: Sizes,
  options: { masked: boolean; accumulate: boolean; trainsBias: boolean },
): AttentionGraphs {
  const { heads } = sizes;
  const [queryHeads, keyHeads] = headShapes(sizes);
  const input = (name: string, ...shape: (number | string)[]): Value =>
    inputValue(name, { dtype: "float32", shape });
  const query = input("query", "T", ...queryHeads);
  const key = input("key", "S", ...keyHeads);
  const value = input("value", "S", ...keyHeads);
  const mask = options.masked ? input("mask", "T", "S") : undefined;
  const bias: BiasInputs | undefined = sizes.bias && {
    table: input("bias", sizes.bias.buckets, heads),
    buckets: inputValue("buckets", { dtype: "int64", shape: ["T", "S"] }),
  };
  const context = attend([query, key, value], mask, bias, sizes);
  const inputs = [query, key, value];
  if (mask !== undefined) inputs.push(mask);
  if (bias !== undefined) inputs.push(bias.table, bias.buckets);
  const dContext = input("d_context", "T", ...queryHeads);
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
