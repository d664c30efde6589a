import { resolveAxis } from "../graph/broadcast.js";
import { type Graph, topologicalOrder, type Value } from "../graph/value.js";
import { slice, type SliceAttrs } from "../ops/slice.js";

/** A value whose slices are all of it, one after another along an axis. */
export interface Split {
  readonly axis: number;
  /** The slices, in order. */
  readonly parts: readonly Value[];
  readonly sizes: readonly number[];
}

/** Finds the slices of a graph that are computed as one node, by each of them: those that cover what they are cut from once. */
export function findSplits(graph: Graph): ReadonlyMap<Value, Split> {
  const families = new Map<string, Value[]>();
  for (const value of topologicalOrder(graph)) {
    if (value.node === undefined || (value.node.op as unknown) !== slice.definition) continue;
    const [x] = value.node.inputs as [Value];
    const key = `${x.id}/${resolveAxis((value.node.attrs as unknown as SliceAttrs).axis, x.type)}`;
    families.set(key, [...(families.get(key) ?? []), value]);
  }
  const splits = new Map<Value, Split>();
  for (const [key, family] of families) {
    const range = (value: Value): SliceAttrs => value.node!.attrs as unknown as SliceAttrs;
    const parts = family.toSorted((a, b) => range(a).start - range(b).start);
    const axis = Number(key.split("/")[1]);
    let covered = 0;
    for (const part of parts) covered = range(part).start === covered ? range(part).end : Number.NaN;
    if (parts.length < 2 || covered !== parts[0]!.node!.inputs[0]!.type.shape[axis]) continue;
    const sizes = parts.map((part) => range(part).end - range(part).start);
    for (const part of parts) splits.set(part, { axis, parts, sizes });
  }
  return splits;
}
