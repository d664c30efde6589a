import { ConfigError, type Fact, TargetError } from "../base/errors.js";
import { suggest } from "../base/suggest.js";
import { type Module, namedModules } from "../nn/module.js";
import type { SiteKind } from "../nn/site.js";

/** What may be written for `targetModules` and `excludeModules`. */
export type ModulePattern = string | readonly string[];

const ALL_LINEAR = "all-linear";

/** A text for the whole option is a regular expression that has to fit the whole path. */
function compile(pattern: string, option: string): RegExp {
  try {
    return new RegExp(`^(?:${pattern})$`);
  } catch (error) {
    throw new ConfigError({
      code: "pattern_syntax",
      summary: `${option}: "${pattern}" is not a regular expression.`,
      facts: [["reason", (error as Error).message]],
      fixes: [`for a name, write a list: ${option}: ["${pattern}"]`],
      fields: { option, pattern },
    });
  }
}

/** Whether an entry of a list names a path: the path itself, or whole segments at its end. */
const namesPath = (entry: string, path: string): boolean => path === entry || path.endsWith(`.${entry}`);

function matcher(pattern: ModulePattern, option: string): (path: string) => boolean {
  if (typeof pattern !== "string") return (path) => pattern.some((entry) => namesPath(entry, path));
  const expression = compile(pattern, option);
  return (path) => expression.test(path);
}

/** Whether a path is meant by an entry of a list, or by a regular expression. */
export const namesModule = (pattern: ModulePattern, path: string): boolean =>
  matcher(pattern, "the pattern")(path);

/** The value of the first pattern that fits the end of a path, as `rankPattern` and `alphaPattern` mean it. */
export function patternValue(patterns: Readonly<Record<string, number>>, path: string): number | undefined {
  const key = Object.keys(patterns).find((pattern) =>
    compile(`(?:.*\\.)?(?:${pattern})`, "rankPattern").test(path),
  );
  return key === undefined ? undefined : patterns[key];
}

/** Linear modules by the last part of their path, with counts: what a user can choose from. */
function availableNames(root: Module): Map<string, number> {
  const names = new Map<string, number>();
  for (const [path, module] of namedModules(root)) {
    if (module.site() === undefined) continue;
    const name = path.split(".").at(-1)!;
    names.set(name, (names.get(name) ?? 0) + 1);
  }
  return names;
}

const counted = (names: Map<string, number>): string =>
  [...names].map(([name, count]) => `${name} (${count})`).join("  ");

function notFound(
  root: Module,
  model: string,
  option: string,
  entries: readonly string[],
  matched: ReadonlyMap<string, number>,
): TargetError {
  const names = availableNames(root);
  const paths = [...namedModules(root)].map(([path]) => path);
  const nearest = new Map(entries.map((entry) => [entry, suggest(entry, [...names.keys(), ...paths])]));
  const facts: Fact[] = [];
  for (const [entry, near] of nearest) {
    if (near.length > 0) facts.push(["nearest", `"${near[0]}" for "${entry}"`]);
  }
  const hits = [...matched].filter(([, count]) => count > 0);
  if (hits.length > 0)
    facts.push(["matched", hits.map(([entry, count]) => `"${entry}" (${count} modules)`).join("  ")]);
  facts.push(["can be adapted", counted(names)]);
  const quoted = entries.map((entry) => `"${entry}"`).join(" and ");
  const corrected = [...matched.keys()].map((entry) => nearest.get(entry)?.[0] ?? entry);
  const usable = entries.every((entry) => (nearest.get(entry)?.length ?? 0) > 0);
  return new TargetError({
    code: "target_not_found",
    summary: `${option}: ${quoted} ${entries.length === 1 ? "matches" : "match"} no module of ${model}.`,
    facts,
    ...(usable
      ? { fixes: [`${option}: ${JSON.stringify(corrected)}`] }
      : { fixes: [`see all paths: peft inspect ${model}`] }),
    fields: { option, entries, suggestions: Object.fromEntries(nearest), available: [...names.keys()] },
  });
}

/** A module that was chosen. */
export interface Match {
  readonly path: string;
  readonly module: Module;
}

/**
 * Finds the modules to adapt.
 *
 * @throws {@link TargetError} `target_not_found` for entries that match nothing, `target_unsupported` for modules of a kind that
 * the method cannot hold on to
 */
export function matchModules(
  root: Module,
  options: {
    readonly model: string;
    readonly target: ModulePattern;
    readonly exclude?: ModulePattern | undefined;
    readonly sites: readonly SiteKind[];
    /** Path of the head, which `all-linear` leaves out. */
    readonly head: string;
  },
): Match[] {
  const { target, exclude, sites, model } = options;
  const modules = [...namedModules(root)].filter(([path]) => path !== "");
  const excluded = exclude === undefined ? () => false : matcher(exclude, "excludeModules");
  if (exclude !== undefined) {
    const entries = typeof exclude === "string" ? [exclude] : exclude;
    const unused = entries.filter((entry) => {
      const fits = matcher(typeof exclude === "string" ? entry : [entry], "excludeModules");
      return !modules.some(([path]) => fits(path));
    });
    if (unused.length > 0)
      throw notFound(root, model, "excludeModules", unused, new Map(entries.map((entry) => [entry, 0])));
  }
  if (typeof target === "string" && target.toLowerCase() === ALL_LINEAR) {
    return modules
      .filter(
        ([path, module]) => module.site()?.kind === "linear" && path !== options.head && !excluded(path),
      )
      .map(([path, module]) => ({ path, module }));
  }
  const fits = matcher(target, "targetModules");
  const entries = typeof target === "string" ? [target] : target;
  const chosen = modules.filter(([path]) => fits(path));
  const counts = new Map(
    entries.map((entry) => {
      const one = matcher(typeof target === "string" ? entry : [entry], "targetModules");
      return [entry, chosen.filter(([path]) => one(path)).length];
    }),
  );
  const missing = [...counts].filter(([, count]) => count === 0).map(([entry]) => entry);
  if (missing.length > 0 || entries.length === 0) {
    throw notFound(
      root,
      model,
      "targetModules",
      entries.length === 0 ? ["(an empty list)"] : missing,
      counts,
    );
  }
  const kept = chosen.filter(([path]) => !excluded(path));
  const unsupported = kept.filter(([, module]) => !sites.includes(module.site()?.kind as SiteKind));
  if (unsupported.length > 0) {
    const [path, module] = unsupported[0]!;
    throw new TargetError({
      code: "target_unsupported",
      summary: `targetModules: ${path} is a ${module.kind}, which the method cannot adapt.`,
      facts: [
        ["kinds", sites.join(", ")],
        ["can be adapted", counted(availableNames(root))],
      ],
      fields: { path, kind: module.kind },
    });
  }
  if (kept.length === 0) {
    throw new TargetError({
      code: "target_excluded",
      summary: `All ${chosen.length} modules that targetModules matches are left out by excludeModules.`,
      fixes: ["shorten excludeModules"],
      fields: { matched: chosen.length },
    });
  }
  return kept.map(([path, module]) => ({ path, module }));
}
