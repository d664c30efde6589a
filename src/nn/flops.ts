import type { Dim, TensorType } from "../base/tensor-type.js";
import { type Graph, type Node, topologicalOrder } from "../graph/value.js";

/** Sizes of the named dimensions of one run. */
export type Sizes = ReadonlyMap<string, number>;

/** Takes down the sizes that the named dimensions of a type have in a run. */
export function noteSizes(sizes: Map<string, number>, { shape }: TensorType, dims: readonly number[]): void {
  for (const [axis, dim] of shape.entries()) if (typeof dim === "string") sizes.set(dim, dims[axis]!);
}

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

/** Operations of matrix products, by the numbers that are multiplied. */
export interface Flops {
  readonly float32: number;
  readonly int8: number;
}

export const NO_FLOPS: Flops = { float32: 0, int8: 0 };

export const addFlops = (a: Flops, b: Flops): Flops => ({
  float32: a.float32 + b.float32,
  int8: a.int8 + b.int8,
});

export const totalFlops = ({ float32, int8 }: Flops): number => float32 + int8;

/** Seconds that the products would take if all ran at the peak of their numbers; `peaks` are operations a second. */
export const idealSeconds = (flops: Flops, peaks: Flops): number =>
  flops.float32 / peaks.float32 + flops.int8 / peaks.int8;

export const isProduct = ({ op }: Node): boolean => op.multiplies !== undefined;

/**
 * Operations of the matrix products of a graph, 2 · M · N · K each. Products with a size that the inputs do not
 * tell are left out.
 */
export function matmulFlops(graph: Graph): (sizes: Sizes) => Flops {
  const products = topologicalOrder(graph).flatMap(({ type, node }) => {
    if (node?.op.multiplies === undefined) return [];
    const [left] = node.inputs;
    const inner = left!.type.shape.at(node.attrs["transposeA"] === true ? -2 : -1)!;
    return [{ numbers: node.op.multiplies, dims: [...type.shape, inner] }];
  });
  return (sizes) =>
    products.reduce<Flops>((sum, { numbers, dims }) => {
      const known = dims.map((dim) => sizeOf(dim, sizes));
      if (known.includes(undefined)) return sum;
      return addFlops(sum, {
        ...NO_FLOPS,
        [numbers]: known.reduce<number>((all, size) => all * size!, 2),
      });
    }, NO_FLOPS);
}
