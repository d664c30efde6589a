import { UnsupportedError } from "../base/errors.js";
import type { MatchWarning } from "../match/report.js";
import type { Module } from "../nn/module.js";
import type { Match } from "./adapter.js";
import { tiedModules } from "./module-copies.js";

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

/** A copy of a tied module is trained apart from what it was tied to. */
export function tieWarnings(root: Module, modulesToSave: readonly Match[], canTie: boolean): MatchWarning[] {
  return modulesToSave.flatMap(({ path, module }) => {
    const others = tiedModules(root, module)
      .map(([other]) => other)
      .filter((other) => !modulesToSave.some((match) => match.path === other));
    if (others.length === 0) return [];
    const rest = others.join(" and ");
    const both = canTie ? " To train them as one: ensureWeightTying: true." : "";
    const text =
      `${path} shares its weight with ${rest}. Its copy is trained alone: ${rest} stays as it is, ` +
      `and a merged model keeps two weights.${both}`;
    return [{ code: "tied_module_saved", text }];
  });
}
