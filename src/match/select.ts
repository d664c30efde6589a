import type { ListedModule } from "./module-list.js";
import type { ParsedEntry } from "./parse-entry.js";
import { PathTrie } from "./path-trie.js";

/** The entries that name each module of a list; `undefined` where none does. */
export type Hits = readonly (readonly ParsedEntry[] | undefined)[];

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

type Alone = readonly [ParsedEntry];

/** Which entries name which modules. */
export function select(entries: readonly ParsedEntry[], modules: readonly ListedModule[]): Hits {
  const hits: (readonly ParsedEntry[] | undefined)[] = [];
  hits.length = modules.length;
  if (entries.length === 0) return hits;
  // Most modules are named by one entry: these share the list that holds it.
  const add = (i: number, alone: Alone): void => {
    const here = hits[i];
    if (here === undefined) hits[i] = alone;
    else if (!here.includes(alone[0])) hits[i] = [...here, alone[0]];
  };
  const trie = new PathTrie<Alone>();
  const tests: Alone[] = [];
  for (const entry of entries) {
    const alone: Alone = [entry];
    if (entry.path !== undefined) trie.add(entry.path, alone);
    else if (entry.scope !== undefined) for (const i of scopeHits(entry, modules)) add(i, alone);
    else tests.push(alone);
  }
  let place = 0;
  const found = (alone: Alone): void => add(place, alone);
  for (const { name, kind } of modules) {
    trie.find(name, found);
    for (const alone of tests) {
      const [{ regex, kinds }] = alone;
      if (regex?.test(name) === true || (kind !== undefined && kinds?.has(kind) === true)) add(place, alone);
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
