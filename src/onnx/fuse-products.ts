import { type Graph, topologicalOrder, type Value } from "../graph/value.js";
import { add } from "../ops/add.js";
import { matmul, type MatmulAttrs } from "../ops/matmul.js";
import { scale } from "../ops/scale.js";

/** A sum one side of which is a matrix product that nothing else reads: c + alpha · op(a) op(b). */
export interface ProductSum {
  readonly a: Value;
  readonly b: Value;
  readonly c: Value;
  readonly attrs: MatmulAttrs;
}

/** Sums that are computed together with their product, by the value of the sum, and what is computed in them: products and factors of their inputs. */
export interface ProductSums {
  readonly sums: ReadonlyMap<Value, ProductSum>;
  readonly products: ReadonlySet<Value>;
}

/**
 * Finds the sums of a graph that a product can be added into as it is computed: one pass over memory less, and one node. LoRA's branch,
 * offsets of packed blocks and gradients that come from several products are such sums. A factor of an input that nothing else reads, such
 * as LoRA's α / r, becomes part of alpha.
 */
export function findProductSums(graph: Graph): ProductSums {
  const order = topologicalOrder(graph);
  const readers = new Map<Value, number>();
  const read = (value: Value): unknown => readers.set(value, (readers.get(value) ?? 0) + 1);
  for (const value of graph.outputs) read(value);
  for (const { node } of order) for (const value of node?.inputs ?? []) read(value);
  const known = new Set(graph.inputs);
  const sums = new Map<Value, ProductSum>();
  const products = new Set<Value>();
  for (const sum of order) {
    if (sum.node === undefined || (sum.node.op as unknown) !== add.definition) continue;
    const shape = sum.type.shape.join();
    const fits = (value: Value): boolean => value.type.shape.join() === shape;
    const fusible = (value: Value): boolean =>
      value.node !== undefined &&
      (value.node.op as unknown) === matmul.definition &&
      value.type.shape.length === 2 &&
      value.node.inputs.every(({ type }) => type.shape.length === 2) &&
      readers.get(value) === 1 &&
      !known.has(value);
    const [left, right] = sum.node.inputs as [Value, Value];
    if (!fits(left) || !fits(right)) continue;
    const product = [right, left].find(fusible);
    if (product === undefined) continue;
    const { alpha: own = 1, ...turns } = product.node!.attrs as MatmulAttrs;
    let alpha = own;
    const unscaled = (value: Value): Value => {
      const scaled = value.node !== undefined && (value.node.op as unknown) === scale.definition;
      if (!scaled || readers.get(value) !== 1 || known.has(value)) return value;
      alpha *= (value.node!.attrs as { readonly by: number }).by;
      products.add(value);
      return value.node!.inputs[0]!;
    };
    const [a, b] = product.node!.inputs.map(unscaled) as [Value, Value];
    sums.set(sum, { a, b, c: product === right ? left : right, attrs: { ...turns, alpha } });
    products.add(product);
  }
  return { sums, products };
}
