import { DEEP, type PathReading } from "./parse-entry.js";

class TrieNode<T> {
  readonly literal = new Map<string, TrieNode<T>>();
  readonly wild: { readonly expression: RegExp; readonly node: TrieNode<T> }[] = [];
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
        if (known === undefined) node.wild.push({ expression: segment, node: next });
        node = next;
      }
    }
    (anchored ? node.paths : node.suffixes).push(value);
  }

  /** Calls `found` for every entry that fits; an entry with `**` may be found more than once. */
  find(path: string, found: (value: T) => void): void {
    this.#visit(this.#root, path, path.length, found);
  }

  /** @param end - where the rest of the path ends; −1 where nothing is left. */
  #visit(node: TrieNode<T>, path: string, end: number, found: (value: T) => void): void {
    for (const value of node.suffixes) found(value);
    if (end < 0) for (const value of node.paths) found(value);
    if (node.deep !== undefined) {
      let rest = end;
      this.#visit(node.deep, path, rest, found);
      while (rest >= 0) {
        rest = path.lastIndexOf(".", rest - 1);
        this.#visit(node.deep, path, rest, found);
      }
    }
    if (end < 0) return;
    const start = path.lastIndexOf(".", end - 1);
    const segment = path.slice(start + 1, end);
    const next = node.literal.get(segment);
    if (next !== undefined) this.#visit(next, path, start, found);
    for (const { expression, node: other } of node.wild)
      if (expression.test(segment)) this.#visit(other, path, start, found);
  }
}
