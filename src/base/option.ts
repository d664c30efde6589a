import { z } from "zod";
import { toCamelCase, toSnakeCase } from "./spelling.js";

/** One declaration of an option: its type, default, check, help line and spellings all come from here. */
export interface Option<T> {
  readonly schema: z.ZodType<T>;
  readonly default: T;
  /** A sentence for help and documentation, with unit and range. */
  readonly doc: string;
  /** What the help shows for a value, such as `<integer>`; nothing for a switch. */
  readonly placeholder: string | undefined;
  /** Names that Hugging Face or older files give it, in camelCase; they are taken as the option itself. */
  readonly aliases?: readonly string[];
  /** What files call it, where that is not its name in snake_case. */
  readonly fileKey?: string;
  /** Reads the text of a flag; undefined where the text is no such value. */
  readonly fromText: (text: string) => unknown;
  /** What it takes, as the end of "7 is not …", where its check does not say it well. */
  readonly expected?: string;
  /** A value for errors to show; the default where absent. */
  readonly example?: unknown;
  /** What it is made of, where it is a group of options. */
  readonly group?: OptionGroup;
}

/** Options that go under one name. */
export interface OptionGroup {
  readonly options: Options;
  /** Keys that Hugging Face writes there and nothing here has a use for, with the value that they are written with. */
  readonly inert: Readonly<Record<string, unknown>>;
  /** What Hugging Face writes where the group is left out. */
  readonly absent: unknown;
}

export type Options = Readonly<Record<string, Option<unknown>>>;

/** The values that a record of options stands for. */
export type OptionValues<O extends Options> = { [K in keyof O]: O[K] extends Option<infer T> ? T : never };

const asNumber = (text: string): unknown =>
  text.trim() === "" || Number.isNaN(Number(text)) ? text : Number(text);

interface Limits {
  readonly doc: string;
  readonly min?: number;
  readonly max?: number;
  /** The value must be larger than this. */
  readonly above?: number;
  /** The value must be smaller than this. */
  readonly below?: number;
}

function limited(schema: z.ZodNumber, { min, max, above, below }: Limits): z.ZodNumber {
  let result = schema;
  if (min !== undefined) result = result.min(min);
  if (max !== undefined) result = result.max(max);
  if (above !== undefined) result = result.gt(above);
  if (below !== undefined) result = result.lt(below);
  return result;
}

/** A whole number. */
export function integer(spec: Limits & { readonly default: number }): Option<number> {
  const schema = limited(z.number().int(), spec);
  return { schema, default: spec.default, doc: spec.doc, placeholder: "<integer>", fromText: asNumber };
}

/** A whole number that may be left out. */
export function optionalInteger(spec: Limits): Option<number | undefined> {
  const schema = limited(z.number().int(), spec).optional();
  return { schema, default: undefined, doc: spec.doc, placeholder: "<integer>", fromText: asNumber };
}

/** A list of whole numbers; commas separate them on the command line. */
export function integers(spec: { readonly min: number; readonly doc: string }): Option<readonly number[]> {
  const schema = z.array(z.number().int().min(spec.min)).readonly();
  const fromText = (value: string): unknown => value.split(",").map((part) => asNumber(part));
  const expected = `a list of whole numbers from ${spec.min}`;
  return {
    schema,
    default: [],
    doc: spec.doc,
    placeholder: "<integers>",
    fromText,
    expected,
    example: [0, 1],
  };
}

/** A list of whole numbers, or such lists by name; may be left out. */
export function integersOrByName(spec: {
  readonly min: number;
  readonly doc: string;
}): Option<readonly number[] | Readonly<Record<string, readonly number[]>> | undefined> {
  const list = z.array(z.number().int().min(spec.min)).readonly();
  const schema = z.union([list, z.record(z.string(), list)]).optional();
  const fromText = (value: string): unknown =>
    value.trimStart().startsWith("{") ? fromJson(value) : value.split(",").map((part) => asNumber(part));
  const expected = `a list of whole numbers from ${spec.min}, or such lists by module`;
  const shown = { placeholder: "<integers|json>", expected, example: [0, 1] };
  return { schema, default: undefined, doc: spec.doc, fromText, ...shown };
}

/** Any finite number. */
export function number(spec: Limits & { readonly default: number }): Option<number> {
  const schema = limited(z.number(), spec);
  return { schema, default: spec.default, doc: spec.doc, placeholder: "<number>", fromText: asNumber };
}

/** True or false. */
export function flag(spec: { readonly default: boolean; readonly doc: string }): Option<boolean> {
  const fromText = (text: string): unknown => (text === "true" ? true : text === "false" ? false : text);
  return { schema: z.boolean(), default: spec.default, doc: spec.doc, placeholder: undefined, fromText };
}

/** Text. */
export function text(spec: {
  readonly default: string;
  readonly doc: string;
  readonly placeholder?: string;
}): Option<string> {
  const { doc, placeholder = "<text>" } = spec;
  const fromText = (value: string): string => value;
  return { schema: z.string(), default: spec.default, doc, placeholder, fromText, expected: "a text" };
}

/** Text that may be left out. */
export function optionalText(spec: {
  readonly doc: string;
  readonly placeholder?: string;
}): Option<string | undefined> {
  const { doc, placeholder = "<text>" } = spec;
  const schema = z.string().optional();
  const fromText = (value: string): string => value;
  return { schema, default: undefined, doc, placeholder, fromText, expected: "a text" };
}

/** One of a few words. */
export function choice<const T extends string>(spec: {
  readonly values: readonly T[];
  readonly default: NoInfer<T>;
  readonly doc: string;
}): Option<T> {
  const schema = z.enum(spec.values as [T, ...T[]]) as unknown as z.ZodType<T>;
  const placeholder = `<${spec.values.join("|")}>`;
  return { schema, default: spec.default, doc: spec.doc, placeholder, fromText: (value) => value };
}

/** One of a few words, or nothing. */
export function optionalChoice<const T extends string>(spec: {
  readonly values: readonly T[];
  readonly doc: string;
}): Option<T | undefined> {
  const schema = z.enum(spec.values as [T, ...T[]]).optional() as unknown as z.ZodType<T | undefined>;
  const placeholder = `<${spec.values.join("|")}>`;
  return { schema, default: undefined, doc: spec.doc, placeholder, fromText: (value) => value };
}

/** A list of names, or one text; commas separate names on the command line. */
export function names(spec: { readonly doc: string }): Option<string | readonly string[] | undefined> {
  const schema = z.union([z.string(), z.array(z.string()).readonly()]).optional();
  const fromText = (value: string): unknown =>
    value.includes(",") ? value.split(",").map((name) => name.trim()) : value;
  const expected = "a name or a list of names";
  return { schema, default: undefined, doc: spec.doc, placeholder: "<names>", fromText, expected };
}

/** Numbers by name, such as ranks by module. */
export function numbersByName(spec: { readonly doc: string }): Option<Readonly<Record<string, number>>> {
  return {
    schema: z.record(z.string(), z.number().positive()),
    default: {},
    doc: spec.doc,
    placeholder: "<json>",
    fromText: fromJson,
    expected: "a set of numbers above 0 by name",
    example: { q_proj: 4 },
  };
}

/** Reads JSON; text that is none stays text. */
function fromJson(value: string): unknown {
  try {
    return JSON.parse(value) as unknown;
  } catch {
    return value;
  }
}

/** Values by name, whatever they are, that may be left out. */
export function plainRecord(spec: {
  readonly doc: string;
}): Option<Readonly<Record<string, unknown>> | undefined> {
  const schema = z.record(z.string(), z.unknown()).optional();
  const expected = "a set of values by name";
  return { schema, default: undefined, doc: spec.doc, placeholder: "<json>", fromText: fromJson, expected };
}

/** Lists of true and false by name, such as which ranks of a module are in use; may be left out. */
export function masksByName(spec: {
  readonly doc: string;
}): Option<Readonly<Record<string, readonly boolean[]>> | undefined> {
  const schema = z.record(z.string(), z.array(z.boolean()).readonly()).optional();
  const expected = "a set of lists of true and false by name";
  return { schema, default: undefined, doc: spec.doc, placeholder: "<json>", fromText: fromJson, expected };
}

/** Texts of one form, such as `pissa_niter_4`; P is their type. */
export interface TextForm<P extends string> {
  /** How the form is written in help and errors. */
  readonly shown: string;
  readonly fits: (value: string) => value is P;
}

/** @param shown - how the form is written in help and errors. */
export const textForm = <P extends string>(shown: string, pattern: RegExp): TextForm<P> => ({
  shown,
  fits: (value): value is P => pattern.test(value),
});

/** A switch that also takes words, or texts of one form. */
export function flagOr<const T extends string, P extends string = never>(spec: {
  readonly values: readonly T[];
  readonly form?: TextForm<P>;
  readonly default: boolean | NoInfer<T>;
  readonly doc: string;
}): Option<boolean | T | P> {
  const { values, form } = spec;
  const words: readonly string[] = values;
  const shown = ["true", "false", ...words, ...(form === undefined ? [] : [form.shown])];
  const schema = z.custom<boolean | T | P>(
    (value) =>
      typeof value === "boolean" ||
      (typeof value === "string" && (words.includes(value) || form?.fits(value) === true)),
    { error: `is not one of ${shown.join(", ")}` },
  );
  const fromText = (value: string): unknown => (value === "true" ? true : value === "false" ? false : value);
  return { schema, default: spec.default, doc: spec.doc, placeholder: `<${shown.join("|")}>`, fromText };
}

/** A group of options that may be left out, each with a default. */
export function optionGroup<const O extends Options>(spec: {
  readonly options: O;
  readonly doc: string;
  readonly inert?: Readonly<Record<string, unknown>>;
  /** What Hugging Face writes where it is left out. @defaultValue null */
  readonly absent?: unknown;
}): Option<Partial<OptionValues<O>> | undefined> {
  const { options, doc, inert = {}, absent = null } = spec;
  const schema = z.record(z.string(), z.unknown()).optional() as z.ZodType<
    Partial<OptionValues<O>> | undefined
  >;
  const group = { options, inert, absent };
  const expected = `a set of values by name (${Object.keys(options).join(", ")})`;
  return { schema, default: undefined, doc, placeholder: "<json>", fromText: fromJson, group, expected };
}

/** The values of a group with defaults filled in. */
export function groupValues<const O extends Options>(
  options: O,
  given: Partial<OptionValues<O>> = {},
): OptionValues<O> {
  const values = given as Readonly<Record<string, unknown>>;
  return Object.fromEntries(
    Object.entries(options).map(([key, option]) => [key, values[key] ?? option.default]),
  ) as OptionValues<O>;
}

/** The keys of a group in camelCase, without those that are of no use here. */
export function groupKeys({ inert }: OptionGroup, given: Readonly<Record<string, unknown>>): OptionRecord {
  const useful = Object.entries(given).filter(
    ([key, value]) => value !== null && !(key in inert && inert[key] === value),
  );
  return Object.fromEntries(useful.map(([key, value]) => [toCamelCase(key), value]));
}

/** A group as files have it. */
export function groupInFile({ options, inert, absent }: OptionGroup, given: unknown): unknown {
  const nothing = absent !== null && Object.keys(given ?? {}).length === 0;
  if (given === undefined || nothing) return absent;
  const values = groupValues(options, given as OptionRecord);
  const entries = Object.entries(values).map(([key, value]) => [toSnakeCase(key), value ?? null]);
  return { ...inert, ...Object.fromEntries(entries) };
}

type OptionRecord = Record<string, unknown>;

/** Also takes an option under other names. */
export function alias<T>(option: Option<T>, ...aliases: readonly string[]): Option<T> {
  return { ...option, aliases };
}

/** Gives an option a name of its own in files, where Hugging Face does not write plain snake_case. */
export function inFiles<T>(option: Option<T>, fileKey: string): Option<T> {
  return { ...option, fileKey };
}
