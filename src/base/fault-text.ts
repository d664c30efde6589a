import type { z } from "zod";
import type { Option } from "./option.js";
import { describeRange, optionRange } from "./option-range.js";
import { toKebabCase, toSnakeCase } from "./spelling.js";

/** How the names of options are written. */
export type Spelling = "camelCase" | "snake_case" | "kebab-case";

/** How the name of an option is written. */
export const SPELL: Readonly<Record<Spelling, (name: string) => string>> = {
  camelCase: (name) => name,
  snake_case: toSnakeCase,
  "kebab-case": (name) => `--${toKebabCase(name)}`,
};

/** What an option expects, as the end of "7 is not …". */
function expectation(option: Option<unknown>): string {
  if (option.expected !== undefined) return option.expected;
  const range = optionRange(option);
  const { kind, values = [] } = range;
  if (kind === "integer") return `a whole number; ${describeRange(range)} was expected`;
  if (kind === "number") return `a number; ${describeRange(range)} was expected`;
  if (kind === "words" && values.every((value) => typeof value === "string"))
    return values.length === 1 ? `${values[0]}, the only choice` : `one of ${values.join(", ")}`;
  return kind === "words" ? describeRange(range) : "what was expected";
}

/** What is wrong with a value of an option: the value, and the bound that it is beyond or what was expected. */
export function faultText(option: Option<unknown>, value: unknown, issue: z.core.$ZodIssue): string {
  const got = JSON.stringify(value) ?? String(value);
  const at = issue.path.length > 0 ? ` (at ${issue.path.join(".")})` : "";
  if (issue.code === "too_small")
    return `${got}${at} is too small; ${issue.inclusive === false ? "above" : "at least"} ${issue.minimum} was expected`;
  if (issue.code === "too_big")
    return `${got}${at} is too large; ${issue.inclusive === false ? "below" : "at most"} ${issue.maximum} was expected`;
  if (issue.code === "custom") return `${got}${at} ${issue.message}`;
  return `${got}${at} is not ${expectation(option)}`;
}

const isPlainName = (key: string): boolean => /^\w+$/.test(key);

/** A value as TypeScript or YAML has it: `{ q_proj: 4 }`. */
function literal(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(literal).join(", ")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  const entries = Object.entries(value).map(
    ([key, inner]) => `${isPlainName(key) ? key : JSON.stringify(key)}: ${literal(inner)}`,
  );
  return entries.length === 0 ? "{}" : `{ ${entries.join(", ")} }`;
}

/** A value as a flag takes it. */
function flagText(value: unknown): string {
  if (Array.isArray(value)) return value.map(String).join(",");
  return typeof value === "object" && value !== null ? `'${JSON.stringify(value)}'` : String(value);
}

/** What can be written for an option in place of a value that it does not take. */
export const optionCure = (key: string, option: Option<unknown>, spelling: Spelling): string =>
  writeOption(key, option, option.example ?? option.default, spelling);

/** An option with a value as it is written; undefined where it is left out. */
export function writeOption(
  key: string,
  option: Option<unknown>,
  value: unknown,
  spelling: Spelling,
): string {
  const name = SPELL[spelling](key);
  if (value === undefined) return `leave ${name} out`;
  if (spelling !== "kebab-case") return `${name}: ${literal(value)}`;
  if (typeof value === "boolean" && option.placeholder === undefined)
    return value ? name : `--no-${name.slice(2)}`;
  return `${name} ${flagText(value)}`;
}
