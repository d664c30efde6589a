import { DEEP, type PathReading } from "./parse-entry.js";

interface WildEdge<T> {
  readonly expression: RegExp;
  readonly node: TrieNode<T>;
  /** What is known of segments that were tried: models repeat theirs many times. */
  readonly known: Map<string, boolean>;
}

function fits({ expression, known }: WildEdge<unknown>, segment: string): boolean {
  let result = known.get(segment);
  if (result === undefined) {
    result = expression.test(segment);
    known.set(segment, result);
  }
  return result;
}

class TrieNode<T> {
  readonly literal = new Map<string, TrieNode<T>>();
  readonly wild: WildEdge<T>[] = [];
  deep: TrieNode<T> | undefined;
  /** What is reached here, whatever stands before. */
  readonly suffixes: T[] = [];
  /** What is reached here only if nothing stands before. */
  readonly paths: T[] = [];
}

/**
 * Entries by their segments from the last to the first. A path is looked up once for all entries: it costs as many steps as
 * segments fit, however many entries there are.
 */
export class PathTrie<T> {
  readonly #root = new TrieNode<T>();

  add({ segments, anchored }: PathReading, value: T): void {
    let node = this.#root;
    for (const segment of [...segments].reverse()) {
      if (typeof segment === "string") {
        const next = node.literal.get(segment) ?? new TrieNode<T>();
        node.literal.set(segment, next);
        node = next;
      } else if (segment === DEEP) {
        node.deep ??= new TrieNode<T>();
        node = node.deep;
      } else {
        const { source } = segment;
        const known = node.wild.find(({ expression }) => expression.source === source);
        const next = known?.node ?? new TrieNode<T>();
        if (known === undefined) node.wild.push({ expression: segment, node: next, known: new Map() });
        node = next;
      }
    }
    (anchored ? node.paths : node.suffixes).push(value);
  }

  /** Calls `found` for every entry that fits; an entry with `**` may be found more than once. */
  find(path: string, found: (value: T) => void): void {
    const end = path.lastIndexOf(".");
    const last = path.slice(end + 1);
    const root = this.#root;
    // Most modules end in a name that no entry ends in: their other segments are not looked at.
    if (
      root.deep === undefined &&
      root.suffixes.length === 0 &&
      !root.literal.has(last) &&
      !root.wild.some((edge) => fits(edge, last))
    ) {
      return;
    }
    const segments = path.split(".");
    this.#visit(root, segments, segments.length, found);
  }

  /** @param left - how many segments are not used up, counted from the first. */
  #visit(node: TrieNode<T>, segments: readonly string[], left: number, found: (value: T) => void): void {
    for (const value of node.suffixes) found(value);
    if (left === 0) for (const value of node.paths) found(value);
    if (node.deep !== undefined)
      for (let rest = left; rest >= 0; rest -= 1) this.#visit(node.deep, segments, rest, found);
    if (left === 0) return;
    const segment = segments[left - 1]!;
    const next = node.literal.get(segment);
    if (next !== undefined) this.#visit(next, segments, left - 1, found);
    for (const edge of node.wild) if (fits(edge, segment)) this.#visit(edge.node, segments, left - 1, found);
  }
}
