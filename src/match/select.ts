import type { ListedModule } from "./module-list.js";
import type { ParsedEntry } from "./parse-entry.js";
import { PathTrie } from "./path-trie.js";

/** The entries that name each module of a list; `undefined` where none does. */
export type Hits = readonly (readonly ParsedEntry[] | undefined)[];

/** How many things each entry names, in one pass. */
export function countHits(entries: readonly ParsedEntry[], hits: Hits): Map<ParsedEntry, number> {
  const counts = new Map(entries.map((entry) => [entry, 0]));
  for (const here of hits) for (const entry of here ?? []) counts.set(entry, counts.get(entry)! + 1);
  return counts;
}

/** All paths that modules or lists of modules have, those alone that hold `word` where one is given. */
function allPrefixes(modules: readonly ListedModule[], word: string): Set<string> {
  const prefixes = new Set<string>();
  for (const { name } of modules) {
    if (!name.includes(word)) continue;
    for (let end = name.length; end > 0; end = name.lastIndexOf(".", end - 1)) {
      const prefix = name.slice(0, end);
      if (prefixes.has(prefix)) break;
      prefixes.add(prefix);
    }
  }
  return prefixes;
}

/** Modules below one of the scope's roots that its own entries choose. */
function scopeHits(entry: ParsedEntry, modules: readonly ListedModule[]): number[] {
  const { within, entries } = entry.scope!;
  const trie = new PathTrie<true>();
  trie.add(within, true);
  const roots: string[] = [];
  const last = within.segments.at(-1);
  for (const prefix of allPrefixes(modules, typeof last === "string" ? last : "")) {
    let fits = false;
    trie.find(prefix, () => (fits = true));
    if (fits) roots.push(`${prefix}.`);
  }
  return roots.flatMap((root) => {
    const inside: number[] = [];
    const below: ListedModule[] = [];
    for (const [i, module] of modules.entries()) {
      if (!module.name.startsWith(root)) continue;
      inside.push(i);
      below.push({ ...module, name: module.name.slice(root.length) });
    }
    return chosen(select(entries, below)).map((i) => inside[i]!);
  });
}

/** Which entries name which modules. */
export function select(entries: readonly ParsedEntry[], modules: readonly ListedModule[]): Hits {
  const hits: ParsedEntry[][] = [];
  hits.length = modules.length;
  if (entries.length === 0) return hits;
  const add = (i: number, entry: ParsedEntry): void => {
    const here = hits[i];
    if (here === undefined) hits[i] = [entry];
    else if (!here.includes(entry)) here.push(entry);
  };
  const trie = new PathTrie<ParsedEntry>();
  const tests: ParsedEntry[] = [];
  for (const entry of entries) {
    if (entry.path !== undefined) trie.add(entry.path, entry);
    else if (entry.scope !== undefined) for (const i of scopeHits(entry, modules)) add(i, entry);
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
  for (const [i, entries] of hits.entries())
    if (entries !== undefined && !entries.some(({ negated }) => negated)) places.push(i);
  return places;
}
