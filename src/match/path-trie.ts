import { DEEP, type PathReading } from "./parse-entry.js";

/** Where a path ends of which all segments are used up: what `lastIndexOf` says of one without a dot. */
const NONE = -1;

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
    this.#visit(this.#root, path, path === "" ? NONE : path.length, found);
  }

  /** @param end - where the segments end that are not used up; segments are cut out only as far as an entry looks. */
  #visit(node: TrieNode<T>, path: string, end: number, found: (value: T) => void): void {
    for (const value of node.suffixes) found(value);
    if (end === NONE) for (const value of node.paths) found(value);
    if (node.deep !== undefined) {
      for (let rest = end; rest !== NONE; rest = path.lastIndexOf(".", rest - 1))
        this.#visit(node.deep, path, rest, found);
      this.#visit(node.deep, path, NONE, found);
    }
    if (end === NONE || (node.literal.size === 0 && node.wild.length === 0)) return;
    const dot = path.lastIndexOf(".", end - 1);
    const segment = path.slice(dot + 1, end);
    const next = node.literal.get(segment);
    if (next !== undefined) this.#visit(next, path, dot, found);
    for (const edge of node.wild) if (fits(edge, segment)) this.#visit(edge.node, path, dot, found);
  }
}
