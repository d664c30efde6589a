import { z } from "zod";
import type { Option } from "./option.js";

const asNumber = (text: string): unknown =>
  text.trim() === "" || Number.isNaN(Number(text)) ? text : Number(text);

/** A number, or one of a few words. */
export function numberOr<const T extends string>(spec: {
  readonly values: readonly T[];
  readonly default: number | NoInfer<T>;
  readonly doc: string;
}): Option<number | T> {
  const schema = z.union([z.number(), z.enum(spec.values as [T, ...T[]])]) as unknown as z.ZodType<
    number | T
  >;
  const placeholder = `<number|${spec.values.join("|")}>`;
  const expected = `a number or one of ${spec.values.join(", ")}`;
  return { schema, default: spec.default, doc: spec.doc, placeholder, fromText: asNumber, expected };
}

/** A positive number, or such numbers by name; JSON on the command line. */
export function numberOrByName(spec: {
  readonly default: number;
  readonly doc: string;
}): Option<number | Readonly<Record<string, number>>> {
  const one = z.number().positive();
  const fromText = (text: string): unknown => {
    try {
      return JSON.parse(text) as unknown;
    } catch {
      return text;
    }
  };
  const schema = z.union([one, z.record(z.string(), one)]);
  const expected = "a number above 0, or a set of such numbers by name";
  const shown = { placeholder: "<number|json>", expected };
  return { schema, default: spec.default, doc: spec.doc, fromText, ...shown };
}

/** One of a few numbers. */
export function numberChoice<const T extends number>(spec: {
  readonly values: readonly T[];
  readonly default: NoInfer<T>;
  readonly doc: string;
}): Option<T> {
  const schema = z.literal(spec.values as [T, ...T[]]) as unknown as z.ZodType<T>;
  const placeholder = `<${spec.values.join("|")}>`;
  return { schema, default: spec.default, doc: spec.doc, placeholder, fromText: asNumber };
}
