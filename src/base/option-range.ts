import { z } from "zod";
import type { Option } from "./option.js";

/** What an option takes, read from its schema. */
export interface OptionRange {
  readonly kind: "integer" | "number" | "words" | "other";
  readonly min?: number;
  readonly max?: number;
  /** The value must be larger than this. */
  readonly above?: number;
  /** The value must be smaller than this. */
  readonly below?: number;
  /** All values of a switch or a choice. */
  readonly values?: readonly (string | boolean | number)[];
}

interface JsonSchema {
  readonly type?: string;
  readonly enum?: readonly (string | number)[];
  readonly anyOf?: readonly JsonSchema[];
  readonly minimum?: number;
  readonly maximum?: number;
  readonly exclusiveMinimum?: number;
  readonly exclusiveMaximum?: number;
}

/** Values of a schema that has a few; undefined where it has others too. */
function valuesOf(schema: JsonSchema): (string | boolean | number)[] | undefined {
  if (schema.type === "boolean") return [true, false];
  if (schema.enum !== undefined) return [...schema.enum];
  const branches = schema.anyOf?.map(valuesOf);
  return branches === undefined || branches.includes(undefined)
    ? undefined
    : branches.flatMap((branch) => branch!);
}

/** A limit that somebody set; whole numbers have those of what a double can count as well. */
const limit = (value: number | undefined): number | undefined =>
  value === undefined || Math.abs(value) === Number.MAX_SAFE_INTEGER ? undefined : value;

/** The values and bounds that an option's check is made of. */
export function optionRange({ schema }: Option<unknown>): OptionRange {
  const json = z.toJSONSchema(schema, { unrepresentable: "any", io: "input" }) as JsonSchema;
  const values = valuesOf(json);
  if (values !== undefined) return { kind: "words", values };
  if (json.type !== "integer" && json.type !== "number") return { kind: "other" };
  const bounds = {
    min: limit(json.minimum),
    max: limit(json.maximum),
    above: json.exclusiveMinimum,
    below: json.exclusiveMaximum,
  };
  const set = Object.entries(bounds).filter(([, value]) => value !== undefined);
  return { kind: json.type, ...(Object.fromEntries(set) as Omit<OptionRange, "kind">) };
}

/** A range in words: `1 or more`, `0 to below 1`, `above 0`, `true, false or gaussian`. */
export function describeRange({ kind, min, max, above, below, values }: OptionRange): string {
  if (values !== undefined)
    return `${values.slice(0, -1).join(", ")}${values.length > 1 ? " or " : ""}${values.at(-1)}`;
  const low = min !== undefined ? `${min}` : above !== undefined ? `above ${above}` : undefined;
  const high = max !== undefined ? `${max}` : below !== undefined ? `below ${below}` : undefined;
  if (low !== undefined && high !== undefined) return `${low} to ${high}`;
  if (low !== undefined) return min === undefined ? low : `${low} or more`;
  if (high !== undefined) return max === undefined ? high : `${high} or less`;
  return { integer: "any whole number", number: "any number", words: "", other: "" }[kind];
}
