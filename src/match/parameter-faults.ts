import type { Fact } from "../base/errors.js";
import { firstFew } from "../base/first-few.js";
import { availableNames } from "./available.js";
import type { Lookup } from "./lookup.js";
import type { MatchFault, ModuleMatch } from "./report.js";
import { holds, listParameters, parameterPath } from "./parameters.js";
import type { MatchSettings } from "./report-settings.js";

/** Parameters that can be adapted, by the last two names of their paths. */
export function availableParameters(modules: readonly ModuleMatch[], { supports }: MatchSettings): string {
  const fitting = listParameters(modules).filter(({ module, parameter }) =>
    supports(modules[module]!, parameter),
  );
  return availableNames(fitting, () => true, 2);
}

/** Parameters that are named and cannot be adapted, such as biases. */
export function unsupportedParameters(
  modules: readonly ModuleMatch[],
  settings: MatchSettings,
): MatchFault[] {
  const wrong = modules.filter(
    ({ status, parameter }) => status === "unsupported" && parameter !== undefined,
  );
  const [first] = wrong;
  if (first === undefined) return [];
  const paths = wrong.map(parameterPath);
  const why =
    wrong.length === 1 ? ": it is no matrix" : `, nor ${wrong.length - 1} more: they are no matrices`;
  return [
    {
      code: "target_unsupported",
      summary: `targetParameters: ${settings.method} cannot adapt ${paths[0]}${why} of its layers.`,
      facts: [
        ...(wrong.length > 1 ? [["parameters", firstFew(paths)] as Fact] : []),
        ["can be adapted", availableParameters(modules, settings)],
      ],
      fixes: [`to train it with its module: modulesToSave: [${JSON.stringify(first.name)}]`],
      fields: { path: paths[0], kind: first.type, parameters: paths },
    },
  ];
}

/** Modules that are adapted, and a parameter of which is adapted by itself. */
export function adaptedTwice(modules: readonly ModuleMatch[], { targets, parameters }: Lookup): MatchFault[] {
  if (parameters.entries.length === 0) return [];
  const twice = modules.flatMap(({ name, status }, i) =>
    status === "adapted" && holds(targets.hits[i]) && holds(parameters.hits[i])
      ? [{ name, parameter: parameterPath({ name, parameter: parameters.names[i] }) }]
      : [],
  );
  const [first] = twice;
  if (first === undefined) return [];
  return [
    {
      code: "targets_overlap",
      summary: `${first.name} is in targetModules and ${first.parameter} in targetParameters: it can be adapted once.`,
      facts: twice.length > 1 ? [["modules", firstFew(twice.map(({ name }) => name))] as Fact] : [],
      fixes: ["take it out of one of the two", "targetModules: []   (the parameters alone)"],
      fields: { modules: twice.map(({ name }) => name) },
    },
  ];
}
