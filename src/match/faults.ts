import type { Fact } from "../base/errors.js";
import { firstFew } from "../base/first-few.js";
import { availableNames, listNames, nearNames } from "./available.js";
import type { Lookup, OptionHits } from "./lookup.js";
import { chosenLayers, layerLists, layerOf } from "./layers.js";
import type { MatchFault, ModuleMatch } from "./report.js";
import type { ParsedEntry } from "./parse-entry.js";
import { availableParameters } from "./parameter-faults.js";
import { listParameters } from "./parameters.js";
import type { MatchSettings } from "./report-settings.js";

const unquoted = (label: string): string => label.replace(/^"!?|"$/g, "");

const counted = (number: number): string => `${number} ${number === 1 ? "module" : "modules"}`;

/** A list of entries with some of them mended. */
const mended = (entries: readonly ParsedEntry[], near: ReadonlyMap<ParsedEntry, string>): string =>
  `[${entries.map((entry) => (near.has(entry) ? JSON.stringify(near.get(entry)) : entry.label)).join(", ")}]`;

/** The fault of all entries of one option that name nothing. */
function notFoundIn(
  { option, entries, counts }: OptionHits,
  modules: readonly ModuleMatch[],
  settings: MatchSettings,
): MatchFault[] {
  const absent = entries.filter((entry) => !entry.optional && counts.get(entry) === 0);
  // The default of an architecture names what some versions of it have and others do not.
  const byDefault = option === "targetModules" && settings.defaultTargets && absent.length < entries.length;
  const missing = byDefault ? [] : absent;
  if (missing.length === 0) return [];
  const written = new Set(entries.map(({ label }) => unquoted(label)));
  const near = new Map<ParsedEntry, string>();
  const suggestions: Record<string, readonly string[]> = {};
  const facts: Fact[] = [];
  const lists = listNames(modules);
  const parameters = option === "targetParameters" ? listParameters(modules) : undefined;
  for (const entry of missing) {
    const text = unquoted(entry.label);
    const isModule = parameters?.some(({ name }) => `.${name}`.endsWith(`.${text}.weight`)) === true;
    const known = isModule ? [`${text}.weight`] : nearNames(text, parameters ?? modules);
    const found = known.filter((name) => !written.has(name));
    suggestions[text] = found;
    const sign = entry.negated ? "!" : "";
    if (found.length > 0) {
      near.set(entry, sign + found[0]!);
      facts.push(["nearest", `"${found[0]}" for "${text}"`]);
    } else if ([...lists].some((list) => list === text || list.endsWith(`.${text}`))) {
      facts.push(["list", `"${text}" is a list of modules; its modules are "${text}.*"`]);
    } else if (entry.mode === "regex" && modules.some(({ name }) => name.endsWith(`.${text}`))) {
      near.set(entry, text);
      facts.push(["reading", `a text for the whole option is a regular expression of the whole path`]);
    }
  }
  const rest = entries.filter((entry) => !missing.includes(entry));
  if (rest.length > 0) {
    const shown = rest.slice(0, 10).map((entry) => `${entry.label} (${counted(counts.get(entry)!)})`);
    facts.push(["matched", shown.join("  ")]);
  }
  const { supports } = settings;
  if (parameters !== undefined) facts.push(["can be adapted", availableParameters(modules, settings)]);
  else if (option === "targetModules") {
    facts.push(["can be adapted", availableNames(modules, (module) => supports(module))]);
  } else facts.push(["there are", availableNames(modules, ({ parameters: count }) => count > 0)]);
  const names = missing.slice(0, 5).map(({ label }) => label);
  const more = missing.length > 5 ? ` and ${missing.length - 5} more` : "";
  const subject = `${names.join(" and ")}${more}`;
  const thing = parameters === undefined ? "module" : "parameter";
  const usable =
    missing.every((entry) => near.has(entry)) && settings.patterns.every(([name]) => name !== option);
  return [
    {
      code: "target_not_found",
      summary: `${option}: ${subject} ${missing.length === 1 ? "matches" : "match"} no ${thing} of ${settings.model}.`,
      facts,
      fixes: usable
        ? [`${option}: ${mended(entries, near)}`]
        : [
            `see all paths: peft match ${settings.model}`,
            'for what may be absent: { match: "name", optional: true }',
          ],
      fields: { option, entries: missing.map(({ label }) => unquoted(label)), suggestions },
    },
  ];
}

/** Keys of `rankPattern` and its like that name no adapted module, though modules of that name may exist. */
function idleKeys(lookup: Lookup, modules: readonly ModuleMatch[], settings: MatchSettings): MatchFault[] {
  return lookup.patterns.flatMap(({ option, entries, hits, counts }) => {
    const used = new Set(modules.flatMap(({ status }, i) => (status === "adapted" ? (hits[i] ?? []) : [])));
    const idle = entries.filter((entry) => counts.get(entry)! > 0 && !used.has(entry));
    if (idle.length === 0) return [];
    const names = idle.map(({ label }) => label).join(" and ");
    return [
      {
        code: "pattern_without_target",
        summary: `${option}: ${names} ${idle.length === 1 ? "names" : "name"} modules of ${settings.model} that are not adapted.`,
        facts: [
          [
            "adapted",
            availableNames(modules, (module) => (module as ModuleMatch).status === "adapted"),
          ] as Fact,
        ],
        fixes: [`leave it out of ${option}, or add the modules to targetModules`],
        fields: { option, entries: idle.map(({ label }) => unquoted(label)) },
      },
    ];
  });
}

/** Entries that name nothing, by option. */
export function notFound(
  modules: readonly ModuleMatch[],
  lookup: Lookup,
  settings: MatchSettings,
): MatchFault[] {
  const { targets, parameters, exclude, save, patterns } = lookup;
  const empty = !settings.emptyTargets && targets.entries.length + parameters.entries.length === 0;
  const none: MatchFault[] = empty
    ? [
        {
          code: "target_not_found",
          summary: `targetModules is an empty list: nothing of ${settings.model} would be adapted.`,
          facts: [["can be adapted", availableNames(modules, (module) => settings.supports(module))]],
          fixes: ['targetModules: "all-linear"'],
          fields: { option: "targetModules", entries: [] },
        },
      ]
    : [];
  const missing = [targets, parameters, exclude, save, ...patterns].flatMap((option) =>
    notFoundIn(option, modules, settings),
  );
  return [...none, ...missing, ...idleKeys(lookup, modules, settings)];
}

/** Layers that are chosen and not there. */
export function unknownLayers(modules: readonly ModuleMatch[], settings: MatchSettings): MatchFault[] {
  const layers = chosenLayers(settings);
  if (layers === undefined) return [];
  const lists = layerLists(settings);
  const there = new Set(
    modules.map(({ name }) => layerOf(name, lists)).filter((layer) => layer !== undefined),
  );
  const missing = [...layers].filter((layer) => !there.has(layer));
  if (missing.length === 0) return [];
  const numbers = [...there].sort((a, b) => a - b);
  const noList = numbers.length === 0;
  return [
    {
      code: "layer_not_found",
      summary: `layersToTransform: ${settings.model} has no layer ${missing.slice(0, 5).join(", ")}${missing.length > 5 ? " …" : ""}.`,
      facts: [
        ["layers", noList ? "none" : `${numbers[0]}-${numbers.at(-1)}`],
        ...(noList ? [["lists", [...listNames(modules)].slice(0, 8).join(", ") || "none"] as Fact] : []),
      ],
      fixes: [noList && lists.length > 0 ? "leave layersPattern out" : "choose layers that are there"],
      fields: { missing, layers: numbers },
    },
  ];
}

/** Modules that are named and cannot be adapted. */
export function unsupported(modules: readonly ModuleMatch[], settings: MatchSettings): MatchFault[] {
  const wrong = modules.filter(
    ({ status, parameter }) => status === "unsupported" && parameter === undefined,
  );
  if (wrong.length === 0) return [];
  const [first] = wrong;
  const others = wrong.length === 1 ? "" : `, as ${counted(wrong.length - 1)} more`;
  return [
    {
      code: "target_unsupported",
      summary: `targetModules: ${first!.name} is a ${first!.type}, which ${settings.method} cannot adapt${others}.`,
      facts: [
        ...(wrong.length > 1
          ? [["modules", firstFew(wrong.map(({ name, type }) => `${name}  ${type}`))] as Fact]
          : []),
        ["can be adapted", availableNames(modules, (module) => settings.supports(module))],
      ],
      fixes: [`to train it as a whole: modulesToSave: [${JSON.stringify(first!.name)}]`],
      fields: { path: first!.name, kind: first!.type, modules: wrong.map(({ name }) => name) },
    },
  ];
}

/** Why nothing at all is adapted, though every entry names something. */
export function nothingLeft(
  modules: readonly ModuleMatch[],
  lookup: Lookup,
  settings: MatchSettings,
  known: boolean,
): MatchFault[] {
  if (known || settings.emptyTargets || modules.some(({ status }) => status === "adapted")) return [];
  const named = modules.filter(
    (_, i) => lookup.targets.hits[i] !== undefined || lookup.parameters.hits[i] !== undefined,
  );
  const options = [lookup.targets, lookup.parameters].filter(({ entries }) => entries.length > 0);
  const written = options.map(({ option }) => option).join(" and ");
  const match = options.length === 1 ? "matches" : "match";
  if (named.length === 0 && settings.everywhere === true) {
    return [
      {
        code: "target_none",
        summary: `${settings.model} has no module that ${settings.method} can adapt.`,
        facts: [],
        fixes: ["choose another method"],
        fields: { model: settings.model, method: settings.method },
      },
    ];
  }
  if (named.length === 0) return [];
  const by = (status: string): number => named.filter((module) => module.status === status).length;
  const facts: Fact[] = [
    [
      "left out",
      `${by("excluded")} excluded, ${by("layer")} by their layer, ${by("saved")} saved as a whole`,
    ],
  ];
  if (by("excluded") === named.length) {
    return [
      {
        code: "target_excluded",
        summary: `All ${named.length} modules that ${written} ${match} are left out by excludeModules.`,
        facts: [],
        fixes: ["shorten excludeModules"],
        fields: { matched: named.length },
      },
    ];
  }
  return [
    {
      code: "target_excluded",
      summary: `None of the ${named.length} modules that ${written} ${match} is left to be adapted.`,
      facts,
      fixes: ["shorten excludeModules, layersToTransform or modulesToSave"],
      fields: { matched: named.length },
    },
  ];
}
