import type { Dim } from "../base/tensor-type.js";
import { type Graph, type Node, topologicalOrder } from "../graph/value.js";

/** Sizes of the named dimensions of one run. */
export type Sizes = ReadonlyMap<string, number>;

/** A dimension of this run; `N·4` is four times N. Undefined where a name is not known. */
function sizeOf(dim: Dim, sizes: Sizes): number | undefined {
  if (typeof dim === "number") return dim;
  let product = 1;
  for (const part of dim.split("·")) {
    const size = sizes.get(part) ?? (/^\d+$/.test(part) ? Number(part) : undefined);
    if (size === undefined) return undefined;
    product *= size;
  }
  return product;
}

/** Ops that are matrix products of their first input. */
const PRODUCTS: ReadonlySet<string> = new Set([
  "matmul",
  "packedMatmul",
  "packedInt8Matmul",
  "int8Matmul",
  "bnb4Matmul",
]);

export const isProduct = ({ op }: Node): boolean => PRODUCTS.has(op.name);

/**
 * Floating-point operations of the matrix products of a graph, 2 · M · N · K each. Products with a size that the inputs do not
 * tell are left out.
 */
export function matmulFlops(graph: Graph): (sizes: Sizes) => number {
  const products = topologicalOrder(graph).flatMap(({ type, node }) => {
    if (node === undefined || !isProduct(node)) return [];
    const [left] = node.inputs;
    const inner = left!.type.shape.at(node.attrs["transposeA"] === true ? -2 : -1)!;
    return [[...type.shape, inner]];
  });
  return (sizes) =>
    products.reduce((sum, dims) => {
      const known = dims.map((dim) => sizeOf(dim, sizes));
      return known.includes(undefined) ? sum : sum + known.reduce<number>((all, size) => all * size!, 2);
    }, 0);
}
