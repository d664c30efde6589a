import type { Fact } from "../base/errors.js";
import { firstFew } from "../base/first-few.js";
import type { Lookup } from "./lookup.js";
import type { MatchFault, ModuleMatch } from "./report.js";
import type { MatchSettings } from "./report-settings.js";

/** Modes that name a module; the others take what is there, and leave out what is taken already. */
const BY_NAME = new Set(["name", "suffix", "path", "exact", "pattern", "regex", "scope"]);

/** Modules that targetModules or targetParameters names and modulesToSave takes. */
function savedTargets(modules: readonly ModuleMatch[], lookup: Lookup): MatchFault[] {
  return [lookup.targets, lookup.parameters].flatMap(({ option, hits }) => {
    const both = modules.filter(
      ({ status }, i) =>
        status === "saved" &&
        hits[i]?.some(({ mode, negated }) => BY_NAME.has(mode) && !negated) === true &&
        hits[i].every(({ negated }) => !negated) &&
        lookup.exclude.hits[i] === undefined,
    );
    return both.length === 0 ? [] : [savedTarget(option, both)];
  });
}

function savedTarget(option: string, both: readonly ModuleMatch[]): MatchFault {
  const names = both.map(({ name, why }) => (why.startsWith("part of") ? `${name}  ${why}` : name));
  return {
    code: "targets_overlap",
    summary: `${both[0]!.name} is in ${option} and ${both[0]!.why.startsWith("part of") ? "is " + both[0]!.why + " in " : "in "}modulesToSave: it cannot be adapted and trained as a whole.`,
    facts: both.length > 1 ? [["modules", firstFew(names)] as Fact] : [],
    fixes: [
      `to train ${both.length === 1 ? "it" : "them"} as a whole: excludeModules: ${JSON.stringify(both.slice(0, 3).map(({ name }) => name))}`,
      "to adapt: take it out of modulesToSave",
    ],
    fields: { modules: both.map(({ name }) => name) },
  };
}

/** Modules to save inside of others. */
function nestedSaves(modules: readonly ModuleMatch[], lookup: Lookup): MatchFault[] {
  const inner = modules.filter(
    ({ why }, i) =>
      lookup.save.hits[i]?.every(({ negated }) => !negated) === true && why.startsWith("part of"),
  );
  if (inner.length === 0) return [];
  const [first] = inner;
  return [
    {
      code: "targets_overlap",
      summary: `modulesToSave: ${first!.name} is ${first!.why}, which is saved as a whole.`,
      facts:
        inner.length > 1
          ? [["modules", firstFew(inner.map(({ name, why }) => `${name}  ${why}`))] as Fact]
          : [],
      fixes: [`leave it out, or name it alone: modulesToSave: [${JSON.stringify(first!.name)}]`],
      fields: { modules: inner.map(({ name }) => name) },
    },
  ];
}

/** Modules with two keys of one pattern. */
function twoKeys(modules: readonly ModuleMatch[], lookup: Lookup): MatchFault[] {
  return lookup.patterns.flatMap(({ option, hits }) => {
    const doubled = modules.flatMap(({ name, status }, i) =>
      status === "adapted" && (hits[i]?.length ?? 0) > 1
        ? [{ name, keys: hits[i]!.map(({ label }) => label) }]
        : [],
    );
    const [first] = doubled;
    if (first === undefined) return [];
    return [
      {
        code: "pattern_overlap",
        summary: `${option}: ${first.keys.join(" and ")} both name ${first.name}.`,
        facts: doubled.length > 1 ? [["modules", firstFew(doubled.map(({ name }) => name))] as Fact] : [],
        fixes: ["write keys that share no module, such as longer suffixes"],
        fields: { option, modules: doubled.map(({ name }) => name), keys: first.keys },
      },
    ];
  });
}

/** Adapted modules inside of other adapted ones. */
function nestedTargets(modules: readonly ModuleMatch[]): MatchFault[] {
  const adapted = modules.filter(({ status }) => status === "adapted").map(({ name }) => name);
  // Only a module that has others below it can be the outer one.
  const outer = modules.flatMap(({ name, status, shape }) =>
    status === "adapted" && shape === undefined ? [name] : [],
  );
  const inner = outer.flatMap((parent) =>
    adapted.filter((name) => name.startsWith(`${parent}.`)).map((name) => [name, parent] as const),
  );
  const [first] = inner;
  if (first === undefined) return [];
  return [
    {
      code: "targets_overlap",
      summary: `targetModules: ${first[0]} is part of ${first[1]}, which is adapted too.`,
      facts: inner.length > 1 ? [["modules", firstFew(inner.map(([name]) => name))] as Fact] : [],
      fixes: [`excludeModules: [${JSON.stringify(first[1])}]`],
      fields: { modules: inner.map(([name]) => name) },
    },
  ];
}

/** Everything that is asked for twice. */
export function overlaps(
  modules: readonly ModuleMatch[],
  lookup: Lookup,
  settings: MatchSettings,
): MatchFault[] {
  return settings.matching === "hugging-face"
    ? []
    : [
        ...savedTargets(modules, lookup),
        ...nestedSaves(modules, lookup),
        ...nestedTargets(modules),
        ...twoKeys(modules, lookup),
      ];
}
