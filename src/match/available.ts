import { suggest } from "../base/suggest.js";
import type { ListedModule } from "./module-list.js";

const lastName = (path: string): string => path.slice(path.lastIndexOf(".") + 1);

/**
 * Names of modules that fit, with how many have them: what a user can choose from.
 *
 * @param segments - how many names of a path are shown, from its end.
 */
export function availableNames(
  modules: readonly ListedModule[],
  fits: (module: ListedModule) => boolean,
  segments = 1,
): string {
  const names = new Map<string, number>();
  for (const module of modules) {
    if (!fits(module)) continue;
    const name = segments === 1 ? lastName(module.name) : module.name.split(".").slice(-segments).join(".");
    if (/^\d+$/.test(name)) continue;
    names.set(name, (names.get(name) ?? 0) + 1);
  }
  const shown = [...names].slice(0, 20).map(([name, count]) => `${name} (${count})`);
  if (shown.length === 0) return "none of its modules";
  return [...shown, ...(names.size > 20 ? [`and ${names.size - 20} more`] : [])].join("  ");
}

/** Names near an entry: last names of modules, their last two names, then whole paths. */
export function nearNames(entry: string, modules: readonly ListedModule[]): string[] {
  const names = new Set(modules.map(({ name }) => lastName(name)));
  const near = suggest(entry, names);
  if (near.length > 0 || !entry.includes(".")) return near;
  const length = entry.split(".").length;
  const suffixes = new Set(modules.map(({ name }) => name.split(".").slice(-length).join(".")));
  return suggest(entry, suffixes);
}

/** Lists of modules: names that stand before numbers, such as `layers`. */
export function listNames(modules: readonly ListedModule[]): Set<string> {
  const lists = new Set<string>();
  for (const { name } of modules) {
    const segments = name.split(".");
    for (let i = 1; i < segments.length; i += 1)
      if (/^\d+$/.test(segments[i]!)) lists.add(segments.slice(0, i).join("."));
  }
  return lists;
}
