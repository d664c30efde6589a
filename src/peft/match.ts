import { ConfigError, type Fact, TargetError, UnsupportedError } from "../base/errors.js";
import { suggest } from "../base/suggest.js";
import { type Module, namedModules, siteOf } from "../nn/module.js";
import type { SiteKind } from "../nn/site.js";
import { tiedModules } from "./module-copies.js";

/** What may be written for `targetModules` and `excludeModules`. */
export type ModulePattern = string | readonly string[];

const ALL_LINEAR = "all-linear";

/** Whether a path is one of the modules to save or stands below one. */
export const isWithin = (path: string, roots: readonly Match[]): boolean =>
  roots.some((root) => path === root.path || path.startsWith(`${root.path}.`));

/** The entries of an option that may be absent, one name or a list. */
export const entriesOf = (value: unknown): readonly string[] =>
  value === undefined ? [] : typeof value === "string" ? [value] : (value as readonly string[]);

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

/** Modules that can be adapted, by the last part of their path, with counts: what a user can choose from. */
function availableNames(
  root: Module,
  sites: readonly SiteKind[] = ["linear", "embedding"],
): Map<string, number> {
  const names = new Map<string, number>();
  for (const [path, module] of namedModules(root)) {
    if (siteOf(module, sites) === undefined) continue;
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
    /** Without it, every module that the method can hold on to. */
    readonly target: ModulePattern | undefined;
    readonly exclude?: ModulePattern | undefined;
    /** Modules that are trained as a whole; nothing is adapted in them. */
    readonly modulesToSave?: readonly Match[];
    readonly sites: readonly SiteKind[];
    /** Path of the head, which `all-linear` leaves out. */
    readonly head: string;
    /** Name of the option for messages, where it is not `targetModules`. */
    readonly option?: string;
    /** Modules that share a parameter with a chosen one are chosen too. */
    readonly followsTies?: boolean;
  },
): Match[] {
  const found = matchTargets(root, options);
  if (options.followsTies !== true) return found;
  const tied = found.flatMap(({ module }) => tiedModules(root, module));
  const others = new Map(tied.map(([path, module]) => [path, module]));
  for (const { path } of found) others.delete(path);
  return [...found, ...[...others].map(([path, module]) => ({ path, module }))];
}

function matchTargets(root: Module, options: Parameters<typeof matchModules>[1]): Match[] {
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
  const everywhere = target === undefined;
  if (everywhere || (typeof target === "string" && target.toLowerCase() === ALL_LINEAR)) {
    const places = modules
      .filter(
        ([path, module]) =>
          (everywhere || module.site()?.kind === "linear") &&
          siteOf(module, sites) !== undefined &&
          (everywhere || path !== options.head) &&
          !excluded(path) &&
          !isWithin(path, options.modulesToSave ?? []),
      )
      .map(([path, module]) => ({ path, module }));
    if (places.length > 0) return places;
    throw new TargetError({
      code: "target_none",
      summary: `${model} has no module that the method can adapt.`,
      facts: [["kinds", sites.join(", ")]],
      fixes: ["choose another method"],
      fields: { model, sites },
    });
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
      options.option ?? "targetModules",
      entries.length === 0 ? ["(an empty list)"] : missing,
      counts,
    );
  }
  const kept = chosen.filter(([path]) => !excluded(path) && !isWithin(path, options.modulesToSave ?? []));
  const unsupported = kept.filter(([, module]) => siteOf(module, sites) === undefined);
  if (unsupported.length > 0) {
    const [path, module] = unsupported[0]!;
    throw new TargetError({
      code: "target_unsupported",
      summary: `targetModules: ${path} is a ${module.kind}, which the method cannot adapt.`,
      facts: [
        ["kinds", sites.join(", ")],
        ["can be adapted", counted(availableNames(root, sites)) || "none of its modules"],
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

/**
 * Finds the modules that are trained as a whole.
 *
 * @throws {@link TargetError} `target_not_found` for entries that match nothing, `targets_overlap` for modules inside each other
 */
export function matchModulesToSave(root: Module, entries: readonly string[], model: string): Match[] {
  const modules = [...namedModules(root)].filter(([path]) => path !== "");
  const fitting = (entry: string) => modules.filter(([path]) => namesPath(entry, path));
  const counts = new Map(entries.map((entry) => [entry, fitting(entry).length]));
  const missing = [...counts].filter(([, count]) => count === 0).map(([entry]) => entry);
  if (missing.length > 0) throw notFound(root, model, "modulesToSave", missing, counts);
  const matches = modules
    .filter(([path]) => entries.some((entry) => namesPath(entry, path)))
    .map(([path, module]) => ({ path, module }));
  const inner = matches.find(({ path }) => matches.some((other) => path.startsWith(`${other.path}.`)));
  if (inner === undefined) return matches;
  throw new TargetError({
    code: "targets_overlap",
    summary: `modulesToSave: ${inner.path} is part of another module that is saved as a whole.`,
    fixes: ["name the outer one alone"],
    fields: { path: inner.path },
  });
}

/**
 * The modules that an adapter file brings whole: those that Hugging Face's rule takes (the path ends with the entry, as
 * characters) and the file has tensors of, and those that an entry names. The outermost counts.
 */
export function savedModules(root: Module, entries: readonly string[], keys: Iterable<string>): Match[] {
  const stored = [...keys];
  const modules = [...namedModules(root)].filter(
    ([path]) =>
      path !== "" &&
      entries.some(
        (entry) =>
          namesPath(entry, path) ||
          (path.endsWith(entry) && stored.some((key) => key.startsWith(`base_model.model.${path}.`))),
      ),
  );
  const matches = modules.map(([path, module]) => ({ path, module }));
  return matches.filter(({ path }) => !matches.some((other) => path.startsWith(`${other.path}.`)));
}

/** With `ensureWeightTying`, modules that share a weight with a module to save are trained with it, as one. */
export function withTied(root: Module, matches: readonly Match[], tying: boolean): Match[] {
  if (!tying) return [...matches];
  const tied = matches.flatMap(({ module }) =>
    tiedModules(root, module).map(([path, other]) => ({ path, module: other })),
  );
  const all = new Map([...matches, ...tied].map((match) => [match.path, match]));
  return [...all.values()];
}

/**
 * Refuses to adapt a module that shares its weight while weights are to stay tied: two updates of one weight are no longer one.
 *
 * @throws {@link UnsupportedError} `tied_target`
 */
export function checkTying(root: Module, targets: readonly Match[], tying: boolean): void {
  if (!tying) return;
  const shared = targets.find(({ module }) => tiedModules(root, module).length > 0);
  if (shared === undefined) return;
  const [other] = tiedModules(root, shared.module)[0]!;
  throw new UnsupportedError({
    code: "tied_target",
    summary: `ensureWeightTying: ${shared.path} shares its weight with ${other} and is adapted, not saved as a whole.`,
    fixes: [
      `modulesToSave: ["${shared.path}"]   (both are trained as one)`,
      "ensureWeightTying: false   (the adapter moves this module alone)",
    ],
    fields: { path: shared.path, other },
  });
}
