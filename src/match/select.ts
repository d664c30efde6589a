import type { ListedModule } from "./module-list.js";
import type { ParsedEntry, PathReading } from "./parse-entry.js";
import { PathTrie } from "./path-trie.js";

/** The entries that name each module of a list; `undefined` where none does. */
export type Hits = readonly (readonly ParsedEntry[] | undefined)[];

/** How many things each entry names, in one pass. */
export function countHits(entries: readonly ParsedEntry[], hits: Hits): Map<ParsedEntry, number> {
  const counts = new Map(entries.map((entry) => [entry, 0]));
  hits.forEach((here) => here?.forEach((entry) => counts.set(entry, counts.get(entry)! + 1)));
  return counts;
}

/** What is looked at of a module, or of anything else that has a path. */
export type Listed = Pick<ListedModule, "name" | "kind">;

/** Beginnings of paths that are roots of the scope, which may be lists of modules. */
function scopeRoots(within: PathReading, modules: readonly Listed[]): Set<string> {
  const trie = new PathTrie<true>();
  trie.add(within, true);
  const last = within.segments.at(-1);
  const word = typeof last === "string" ? last : "";
  const roots = new Set<string>();
  let fits = false;
  const found = (): void => void (fits = true);
  for (const { name } of modules) {
    if (!name.includes(word)) continue;
    for (let end = name.length; end > 0; end = name.lastIndexOf(".", end - 1)) {
      fits = false;
      trie.find(name, found, end);
      if (fits) roots.add(`${name.slice(0, end)}.`);
    }
  }
  return roots;
}

/** Modules below one of the scope's roots that its own entries choose. */
function scopeHits(
  { within, entries }: NonNullable<ParsedEntry["scope"]>,
  modules: readonly Listed[],
): number[] {
  return [...scopeRoots(within, modules)].flatMap((root) => {
    const inside: number[] = [];
    const below: Listed[] = [];
    for (const [i, { name, kind }] of modules.entries()) {
      if (!name.startsWith(root)) continue;
      inside.push(i);
      below.push({ name: name.slice(root.length), kind });
    }
    return chosen(select(entries, below)).map((i) => inside[i]!);
  });
}

/** Which entries name which modules. */
export function select(entries: readonly ParsedEntry[], modules: readonly Listed[]): Hits {
  const hits: ParsedEntry[][] = [];
  hits.length = modules.length;
  if (entries.length === 0) return hits;
  const add = (i: number, entry: ParsedEntry): void => {
    const here = hits[i];
    // A list that grows by one keeps room for sixteen more, and there are as many lists as modules.
    if (here === undefined) hits[i] = [entry];
    else if (!here.includes(entry)) hits[i] = here.concat(entry);
  };
  const trie = new PathTrie<ParsedEntry>();
  const tests: ParsedEntry[] = [];
  for (const entry of entries) {
    if (entry.path !== undefined) trie.add(entry.path, entry);
    else if (entry.scope !== undefined) for (const i of scopeHits(entry.scope, modules)) add(i, entry);
    else tests.push(entry);
  }
  let place = 0;
  const found = (entry: ParsedEntry): void => add(place, entry);
  for (const { name, kind } of modules) {
    trie.find(name, found);
    for (const entry of tests) {
      if (entry.regex?.test(name) === true || (kind !== undefined && entry.kinds?.has(kind) === true))
        add(place, entry);
    }
    place += 1;
  }
  return hits;
}

/** Places of the modules that a list chooses: named by an entry, and by none that takes modules out. */
export function chosen(hits: Hits): number[] {
  const places: number[] = [];
  hits.forEach((entries, i) => {
    if (entries?.every(({ negated }) => !negated) === true) places.push(i);
  });
  return places;
}
