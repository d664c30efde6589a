import type { Fact } from "../base/errors.js";
import type { Lookup, OptionHits } from "./lookup.js";
import type { MatchFault, MatchWarning, ModuleMatch } from "./report.js";
import { pathPattern } from "./module-list.js";
import { parameterPath } from "./parameters.js";
import type { ParsedEntry } from "./parse-entry.js";
import type { Ambiguous, MatchSettings } from "./report-settings.js";

/** Modules of one role: their paths differ in the numbers of layers alone, and they are of one type. */
interface Role {
  readonly pattern: string;
  readonly modules: readonly ModuleMatch[];
}

/** Entries that a person may have meant for one role; patterns and kinds say themselves that they mean more. */
const canBeAmbiguous = ({ mode, negated }: ParsedEntry): boolean =>
  !negated && (mode === "name" || mode === "suffix");

function rolesOf(modules: readonly ModuleMatch[]): Role[] {
  const roles = new Map<string, ModuleMatch[]>();
  const patterns = new Map<string, string>();
  for (const module of modules) {
    const pattern = pathPattern(module.name);
    const key = `${pattern} ${module.type}`;
    patterns.set(key, pattern);
    const known = roles.get(key);
    if (known === undefined) roles.set(key, [module]);
    else known.push(module);
  }
  return [...roles].map(([key, list]) => ({ pattern: patterns.get(key)!, modules: list }));
}

/** The shortest spelling that means one role and none of the others. */
function spellingOf(role: Role, others: readonly Role[]): string {
  const segments = role.pattern.split(".");
  for (let from = segments.length - 1; from >= 0; from -= 1) {
    const spelling = segments.slice(from).join(".");
    const fits = ({ pattern }: Role): boolean => pattern === spelling || pattern.endsWith(`.${spelling}`);
    if (segments[from] !== "*" && !others.some(fits)) return JSON.stringify(spelling);
  }
  return role.modules.length === 1
    ? `{ exact: ${JSON.stringify(role.modules[0]!.name)} }`
    : `{ regex: ${JSON.stringify(role.pattern.replaceAll(".", "\\.").replaceAll("*", "\\d+"))} }`;
}

/** `(768, 768)`, or the word that stands for a module without a weight. */
const shapeText = (shape: readonly number[] | undefined): string =>
  shape === undefined ? "" : `(${shape.join(", ")})`;

function describe(option: string, entry: ParsedEntry, roles: readonly Role[], model: string): MatchFault {
  const spellings = roles.map((role) =>
    spellingOf(
      role,
      roles.filter((other) => other !== role),
    ),
  );
  const wide = Math.max(...roles.map(({ modules }) => String(modules.length).length));
  const facts = roles.slice(0, 8).map(({ pattern, modules }): Fact => {
    const [first] = modules;
    const noun = modules.length === 1 ? "module " : "modules";
    const total = String(modules.length).padStart(wide);
    return [pattern, `${total} ${noun}  ${first!.type} ${shapeText(first!.shape)}`.trimEnd()];
  });
  const keyed = option.endsWith("Pattern");
  const one = keyed ? `${option}: { ${spellings[0]}: … }` : `${option}: [${spellings[0]}]`;
  const all = keyed ? "" : `, or to mean ${roles.length === 2 ? "both" : "all"}: [${spellings.join(", ")}]`;
  return {
    code: "target_ambiguous",
    summary: `${option}: ${entry.label} matches ${roles.length} different kinds of place in ${model}.`,
    facts: [...facts, ...(roles.length > 8 ? [["and", `${roles.length - 8} more`] as Fact] : [])],
    fixes: [`${one}${all}`, 'to mean all of them as it is: ambiguous: "allow"'],
    fields: {
      option,
      entry: entry.label,
      groups: roles.map(({ pattern, modules }) => ({ pattern, count: modules.length })),
      spellings,
    },
  };
}

/** A fault as one line of a warning. */
function asWarning(fault: MatchFault): MatchWarning {
  const groups = fault.facts
    .map(([label, text]) => `${label} (${text.trim().replace(/ {2}.*$/, "")})`)
    .join(", ");
  return {
    code: fault.code,
    text: `${fault.summary.replace(/\.$/, "")}: ${groups}. To choose: ${fault.fixes[0]}`,
  };
}

const DEFAULTS: Readonly<Record<string, Ambiguous>> = { targetModules: "warn", targetParameters: "warn" };

/** Entries that name modules of several roles: an error where a person means one module, a warning for targets. */
export function ambiguityFindings(
  modules: readonly ModuleMatch[],
  lookup: Lookup,
  settings: MatchSettings,
): { readonly faults: MatchFault[]; readonly warnings: MatchWarning[] } {
  const faults: MatchFault[] = [];
  const warnings: MatchWarning[] = [];
  const options: OptionHits[] = [
    ...(settings.defaultTargets ? [] : [lookup.targets]),
    lookup.parameters,
    lookup.save,
    ...lookup.patterns,
  ];
  for (const { option, entries, hits } of options) {
    const reaction = settings.ambiguous ?? DEFAULTS[option] ?? "error";
    if (reaction === "allow") continue;
    const candidates = new Map(entries.filter(canBeAmbiguous).map((entry) => [entry, [] as ModuleMatch[]]));
    if (candidates.size === 0) continue;
    const keyed = lookup.patterns.some((pattern) => pattern.option === option);
    hits.forEach((here, i) => {
      const module = modules[i]!;
      // What is left out anyway was not what the entry was written for.
      const byStatus = keyed || option.startsWith("target");
      if (byStatus ? module.status !== "adapted" : module.status === "excluded") return;
      const named = option === "targetParameters" ? { ...module, name: parameterPath(module) } : module;
      here?.forEach((entry) => candidates.get(entry)?.push(named));
    });
    for (const [entry, named] of candidates) {
      const roles = rolesOf(named);
      if (roles.length < 2) continue;
      const fault = describe(option, entry, roles, settings.model);
      if (reaction === "error") faults.push(fault);
      else warnings.push(asWarning(fault));
    }
  }
  return { faults, warnings };
}
