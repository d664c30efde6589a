import type { ModulePattern } from "../base/module-pattern.js";
import type { ListedModule } from "./module-list.js";
import { parsePattern } from "./parse-entry.js";
import { chosen, select } from "./select.js";

/** Whether a pattern names a module, read by itself: options that point at modules which are chosen already. */
export function named(pattern: ModulePattern, module: ListedModule): boolean {
  const entries = parsePattern(pattern, { option: "the pattern", isPath: (text) => text === module.name });
  return chosen(select(entries, [module])).length > 0;
}
