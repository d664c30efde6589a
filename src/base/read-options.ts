import type { z } from "zod";
import { ConfigError, type Fact } from "./errors.js";
import { groupKeys, type Options, type OptionValues } from "./option.js";
import { toKebabCase, toSnakeCase } from "./spelling.js";
import { neighbourName, suggest } from "./suggest.js";

export type Spelling = "camelCase" | "snake_case" | "kebab-case";

/** How the name of an option is written. */
export const SPELL: Readonly<Record<Spelling, (name: string) => string>> = {
  camelCase: (name) => name,
  snake_case: toSnakeCase,
  "kebab-case": (name) => `--${toKebabCase(name)}`,
};

export interface ReadOptionsSource {
  /** What the values come from: shown first in the error, such as `train.yaml` or `LORA`. */
  readonly source: string;
  readonly spelling?: Spelling;
  /** Where a key stands, such as `line 4`. */
  readonly where?: (key: string) => string | undefined;
  /** Options that are known and not there, with what to do instead. */
  readonly refuses?: Readonly<Record<string, string>> | undefined;
  /** Cure shown last. */
  readonly fix?: string;
}

/** A fault of one key, as it is shown. */
export interface OptionFault {
  readonly key: string;
  readonly text: string;
  readonly suggestions: readonly string[];
}

function describe(value: unknown, issue: z.core.$ZodIssue): string {
  const got = JSON.stringify(value) ?? String(value);
  const at = issue.path.length > 0 ? ` (at ${issue.path.join(".")})` : "";
  if (issue.code === "too_small") {
    return `${got}${at} is too small; ${issue.inclusive === false ? "above" : "at least"} ${issue.minimum} was expected`;
  }
  if (issue.code === "too_big") {
    return `${got}${at} is too large; ${issue.inclusive === false ? "below" : "at most"} ${issue.maximum} was expected`;
  }
  if (issue.code === "invalid_value")
    return `${got}${at} is not one of ${issue.values.map(String).join(", ")}`;
  if (issue.code === "invalid_type") {
    const kinds: Readonly<Record<string, string>> = {
      int: "a whole number",
      record: "a set of values by name",
    };
    const kind = kinds[issue.expected] ?? `a ${issue.expected}`;
    return `${got}${at} is not ${kind}`;
  }
  if (issue.code === "custom") return `${got}${at} ${issue.message}`;
  return `${got}${at} is not what was expected`;
}

/** Values under the options' own names, where they came under an alias. */
export function resolveAliases(
  options: Options,
  values: Readonly<Record<string, unknown>>,
): Record<string, unknown> {
  const names = new Map<string, string>();
  for (const [name, option] of Object.entries(options))
    for (const other of option.aliases ?? []) names.set(other, name);
  return Object.fromEntries(Object.entries(values).map(([key, value]) => [names.get(key) ?? key, value]));
}

/** All faults of a set of values, without throwing. Keys of `values` are camelCase. */
export function optionFaults(
  options: Options,
  values: Readonly<Record<string, unknown>>,
  spelling: Spelling,
  refuses: Readonly<Record<string, string>> = {},
): OptionFault[] {
  const spell = SPELL[spelling];
  const known = Object.keys(options);
  const faults: OptionFault[] = [];
  for (const [key, value] of Object.entries(resolveAliases(options, values))) {
    const option = options[key];
    const refused = option === undefined ? refuses[key] : undefined;
    if (refused !== undefined) {
      faults.push({ key, text: refused, suggestions: [] });
      continue;
    }
    if (option === undefined) {
      const neighbour = neighbourName(key, known);
      const near = neighbour === undefined ? suggest(key, known).map(spell) : [spell(neighbour)];
      const hint =
        neighbour !== undefined
          ? `; it is called ${near[0]} here`
          : near.length > 0
            ? `; did you mean ${near.join(" or ")}?`
            : "";
      faults.push({ key, text: `there is no such option${hint}`, suggestions: near });
      continue;
    }
    if (value === undefined) continue;
    const result = option.schema.safeParse(value);
    if (!result.success) {
      const issue = result.error.issues[0]!;
      const branches = issue.code === "invalid_union" ? issue.errors.flat() : [];
      const text = describe(
        value,
        branches.find((branch) => branch.code !== "invalid_type") ?? branches[0] ?? issue,
      );
      faults.push({ key, text, suggestions: [] });
    } else if (option.group !== undefined) {
      const { group } = option;
      const values = groupKeys(group, value as Record<string, unknown>);
      // A flag takes a group as JSON, whose keys are no flags.
      const inside = optionFaults(group.options, values, spelling === "kebab-case" ? "camelCase" : spelling);
      faults.push(...inside.map((fault) => ({ ...fault, key: `${key}.${fault.key}` })));
    }
  }
  return faults;
}

/** The error that reports faults of options, all at once. */
export function optionError(faults: readonly OptionFault[], from: ReadOptionsSource): ConfigError {
  const spell = SPELL[from.spelling ?? "camelCase"];
  const facts = faults.map(({ key, text }): Fact => {
    const where = from.where?.(key);
    return [spell(key), where === undefined ? text : `${text} (${where})`];
  });
  const noun = faults.length === 1 ? "an option" : `${faults.length} options`;
  return new ConfigError({
    code: faults.every(({ text }) => text.startsWith("there is no such")) ? "unknown_key" : "option_value",
    summary: `${from.source} has ${noun} that cannot be used.`,
    facts,
    ...(from.fix === undefined ? {} : { fixes: [from.fix] }),
    fields: { source: from.source, faults },
  });
}

/** Values with defaults filled in. Throws one {@link ConfigError} with every unknown key and every bad value. */
export function readOptions<O extends Options>(
  options: O,
  values: Readonly<Record<string, unknown>>,
  from: ReadOptionsSource,
): OptionValues<O> {
  const faults = optionFaults(options, values, from.spelling ?? "camelCase", from.refuses);
  if (faults.length > 0) throw optionError(faults, from);
  const named = resolveAliases(options, values);
  return Object.fromEntries(
    Object.entries(options).map(([key, { group, default: otherwise }]) => {
      const value = named[key] ?? otherwise;
      const inside = group !== undefined && value !== undefined;
      return [key, inside ? groupKeys(group, value as Record<string, unknown>) : value];
    }),
  ) as OptionValues<O>;
}
