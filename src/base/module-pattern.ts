import { z } from "zod";
import type { Option } from "./option.js";

/** Kinds of modules that an entry can ask for; each module is of one kind at most. */
export const MODULE_KINDS = ["linear", "conv1d", "embedding", "norm", "head"] as const;

export type ModuleKind = (typeof MODULE_KINDS)[number];

/** The options of every method that choose modules by patterns. */
export const MODULE_OPTIONS: readonly string[] = [
  "targetModules",
  "targetParameters",
  "excludeModules",
  "modulesToSave",
  "layersPattern",
];

interface Optional {
  /** Whether it may match nothing. @defaultValue false */
  readonly optional?: boolean | undefined;
}

/**
 * One entry of a list that chooses modules.
 *
 * A text is a name, a dotted suffix, a full path, or any of these with `*`, `**` and `{0-3,8}`; a `!` before it takes modules
 * out of the list. Objects force a reading: `exact` a full path, `regex` a regular expression of the whole path, `kind` all modules
 * of a kind, `match` with `within` what is below a module, `optional` what may be absent.
 */
export type ModuleEntry =
  | string
  | (Optional & { readonly exact: string })
  | (Optional & { readonly regex: string })
  | (Optional & { readonly kind: ModuleKind })
  | (Optional & { readonly match: string | readonly ModuleEntry[]; readonly within?: string | undefined });

/** What an option that chooses modules takes: a regular expression or `all-linear` as one text, or entries. */
export type ModulePattern = string | ModuleEntry | readonly ModuleEntry[];

const optional = z.boolean().optional();
const entry: z.ZodType<ModuleEntry> = z.lazy(() =>
  z.union([
    z.string(),
    z.strictObject({ exact: z.string(), optional }),
    z.strictObject({ regex: z.string(), optional }),
    z.strictObject({ kind: z.enum(MODULE_KINDS), optional }),
    z.strictObject({
      match: z.union([z.string(), z.array(entry).readonly()]),
      within: z.string().optional(),
      optional,
    }),
  ]),
);
const pattern: z.ZodType<ModulePattern> = z.union([entry, z.array(entry).readonly()]);

/** A text that is JSON as its value, any other text as it is. */
function fromJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return text;
  }
}

/** Parts of a text between commas that stand in no brackets. */
function commaParts(text: string): string[] {
  const parts = [""];
  let depth = 0;
  for (const letter of text) {
    if ("{[(".includes(letter)) depth += 1;
    if ("}])".includes(letter)) depth -= 1;
    if (letter === "," && depth <= 0) parts.push("");
    else parts[parts.length - 1] += letter;
  }
  return parts.map((part) => part.trim()).filter((part) => part !== "");
}

/** A text of the command line that can only be a name, since a regular expression of it would be no more. */
const isName = (text: string): boolean => /^[!\w.*{},-]+$/.test(text) && !/\.\*|^all-linear$/i.test(text);

/** Modules as `targetModules` takes them. On the command line: names between commas, a regular expression, or JSON. */
export function modulePattern(spec: {
  readonly doc: string;
  readonly example?: ModulePattern;
}): Option<ModulePattern | undefined> {
  const fromText = (text: string): unknown => {
    if (/^\s*[[{]/.test(text)) return fromJson(text);
    const parts = commaParts(text);
    return parts.length > 1 || isName(text) ? parts : text;
  };
  return {
    schema: pattern.optional(),
    default: undefined,
    doc: spec.doc,
    placeholder: "<modules>",
    fromText,
    expected:
      "a regular expression, or names, patterns or objects ({ exact }, { regex }, { kind }, { match })",
    ...(spec.example === undefined ? {} : { example: spec.example }),
  };
}

/** A list of entries, where one text for the whole option has no meaning. On the command line: names between commas, or JSON. */
export function moduleEntries(spec: {
  readonly doc: string;
  readonly example: readonly ModuleEntry[];
}): Option<readonly ModuleEntry[] | undefined> {
  const fromText = (text: string): unknown => (/^\s*\[/.test(text) ? fromJson(text) : commaParts(text));
  const schema = z.array(entry).readonly().optional();
  const expected = "a list of names, patterns or objects ({ exact }, { regex }, { kind }, { match })";
  return { schema, default: undefined, placeholder: "<names>", fromText, expected, ...spec };
}

/** Whole numbers, one or several; `0-3,8` on the command line. */
export function layerNumbers(spec: { readonly doc: string }): Option<number | readonly number[] | undefined> {
  const layer = z.number().int().min(0);
  const fromText = (text: string): unknown => {
    if (!/^\d+(-\d+)?(,\d+(-\d+)?)*$/.test(text.replaceAll(" ", ""))) return fromJson(text);
    const layers = text.split(",").flatMap((part) => {
      const [from = 0, to = from] = part.split("-").map(Number);
      return Array.from({ length: Math.max(0, to - from + 1) }, (_, i) => from + i);
    });
    return layers.length === 1 ? layers[0] : layers;
  };
  const schema = z.union([layer, z.array(layer).readonly()]).optional();
  const expected = "the number of a layer from 0, or a list of such numbers";
  const shown = { placeholder: "<0-3,8>", expected, example: [0, 1] };
  return { schema, default: undefined, doc: spec.doc, fromText, ...shown };
}
