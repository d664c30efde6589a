import { ConfigError, type Fact } from "../base/errors.js";
import type { Options } from "../base/option.js";
import { suggest } from "../base/suggest.js";
import { methods } from "../methods/index.js";
import type { MethodDefinition } from "../methods/method.js";
import type { SiteKind } from "../nn/site.js";

const registered = new Map<string, MethodDefinition>(
  Object.entries(methods as unknown as Record<string, MethodDefinition>),
);

/** Every method that can be used, by `peft_type`: those of the package, then those that were registered. */
export const allMethods = (): ReadonlyMap<string, MethodDefinition> => registered;

/** Parts that a definition cannot do without. */
const NEEDED: readonly (keyof MethodDefinition)[] = [
  "name",
  "title",
  "paper",
  "formula",
  "parameters",
  "advice",
  "sites",
  "config",
  "inert",
  "quantisedBase",
  "parameterCount",
  "identityStart",
  "mergeable",
  "attach",
];

/** Whether a value looks like what `defineMethod` answers. */
export const isMethod = (value: unknown): value is MethodDefinition =>
  typeof value === "object" && value !== null && NEEDED.every((part) => part in value);

/**
 * Makes a method from outside the package known: `getPeftModel`, adapter files and the command line then take its name like any other.
 * Registering the same definition again does nothing.
 *
 * Its options are typed in `getPeftModel` once it is named in `RegisteredMethods`.
 *
 * @throws {@link ConfigError} `method_incomplete`, `method_name` or `method_exists`
 * @example
 * registerMethod(ssf);
 * const model = await getPeftModel(base, { peftType: "SSF", targetModules: ["q_proj"] });
 */
export function registerMethod<O extends Options, K extends SiteKind>(
  definition: MethodDefinition<O, K>,
): void {
  const method = definition as unknown as MethodDefinition;
  const missing = NEEDED.filter((part) => method[part] === undefined);
  if (missing.length > 0) {
    throw new ConfigError({
      code: "method_incomplete",
      summary: `The method ${JSON.stringify(method.name) ?? "without a name"} lacks ${missing.join(", ")}.`,
      fixes: ["declare it with defineMethod, which asks for every part"],
      fields: { name: method.name, missing },
    });
  }
  if (!/^[A-Z][A-Z0-9_]*$/.test(method.name)) {
    throw new ConfigError({
      code: "method_name",
      summary: `"${method.name}" cannot be the name of a method: capitals, digits and _ can be used, a capital first.`,
      fixes: [`name: "${method.name.toUpperCase().replace(/[^A-Z0-9]+/g, "_")}"`],
      fields: { name: method.name },
    });
  }
  const known = registered.get(method.name);
  if (known === method) return;
  if (known !== undefined) {
    throw new ConfigError({
      code: "method_exists",
      summary: `There is a method called ${method.name} already: ${known.title}, ${known.paper}.`,
      fixes: ["give the new one another name"],
      fields: { name: method.name },
    });
  }
  registered.set(method.name, method);
}

/** The error for a `peftType` that no method has. */
export function unknownMethod(peftType: unknown, where: string): ConfigError {
  const names = [...registered.keys()];
  const near = typeof peftType === "string" ? suggest(peftType, names) : [];
  return new ConfigError({
    code: "peft_type_unknown",
    summary: `${where} is ${JSON.stringify(peftType) ?? "missing"}, which is no method of this version.`,
    facts: [
      ...(near.length > 0 ? [["nearest", near.join(", ")] as Fact] : []),
      ["methods", names.join(", ")],
    ],
    fixes: [
      "a method of another package has to be registered first: registerMethod(method), or peft --plugin MODULE",
    ],
    fields: { peftType },
  });
}

/**
 * The definition behind a `peftType`.
 *
 * @throws {@link ConfigError} `peft_type_unknown`
 */
export function findMethod(peftType: unknown, where = "peftType"): MethodDefinition {
  const method = typeof peftType === "string" ? registered.get(peftType) : undefined;
  if (method === undefined) throw unknownMethod(peftType, where);
  return method;
}
