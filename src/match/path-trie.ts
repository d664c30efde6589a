import { DEEP, type PathReading } from "./parse-entry.js";

/** Where a path ends of which all segments are used up: what `lastIndexOf` says of one without a dot. */
const NONE = -1;

/** A step that takes any segment which fits an expression. */
interface WildEdge<T> {
  readonly expression: RegExp;
  readonly node: TrieNode<T>;
}

class TrieNode<T> {
  readonly literal = new Map<string, TrieNode<T>>();
  readonly wild: WildEdge<T>[] = [];
  deep: TrieNode<T> | undefined;
  /** What is reached here, whatever stands before. */
  readonly suffixes: T[] = [];
  /** What is reached here only if nothing stands before. */
  readonly paths: T[] = [];
  /** Where wild steps lead from segments that were tried: models repeat theirs many times. */
  readonly #known = new Map<string, readonly TrieNode<T>[]>();

  wildSteps(segment: string): readonly TrieNode<T>[] {
    let nodes = this.#known.get(segment);
    if (nodes === undefined) {
      nodes = this.wild.filter(({ expression }) => expression.test(segment)).map(({ node }) => node);
      this.#known.set(segment, nodes);
    }
    return nodes;
  }
}

/**
 * Entries by their segments from the last to the first. A path is looked up once for all entries: it costs as many steps as
 * segments fit, however many entries there are.
 */
export class PathTrie<T> {
  readonly #root = new TrieNode<T>();

  /** All entries are added before the first path is looked up. */
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

  /**
   * Calls `found` for every entry that fits; an entry with `**` may be found more than once.
   *
   * @param end - where the path ends, where it is a beginning of `path`.
   */
  find(path: string, found: (value: T) => void, end = path === "" ? NONE : path.length): void {
    this.#visit(this.#root, path, end, found);
  }

  /** @param end - where the segments end that are not used up; segments are cut out only as far as an entry looks. */
  #visit(node: TrieNode<T>, path: string, end: number, found: (value: T) => void): void {
    // Iterators would be most of what this leaves to the garbage collector.
    const { suffixes, paths, deep } = node;
    for (let i = 0; i < suffixes.length; i += 1) found(suffixes[i]!);
    if (end === NONE) for (let i = 0; i < paths.length; i += 1) found(paths[i]!);
    if (deep !== undefined) {
      for (let rest = end; rest !== NONE; rest = path.lastIndexOf(".", rest - 1))
        this.#visit(deep, path, rest, found);
      this.#visit(deep, path, NONE, found);
    }
    if (end === NONE || (node.literal.size === 0 && node.wild.length === 0)) return;
    const dot = path.lastIndexOf(".", end - 1);
    const segment = path.slice(dot + 1, end);
    const next = node.literal.get(segment);
    if (next !== undefined) this.#visit(next, path, dot, found);
    if (node.wild.length === 0) return;
    const steps = node.wildSteps(segment);
    for (let i = 0; i < steps.length; i += 1) this.#visit(steps[i]!, path, dot, found);
  }
}
