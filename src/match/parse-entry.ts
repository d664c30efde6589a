import type { ModuleEntry, ModuleKind, ModulePattern } from "../base/module-pattern.js";
import { ConfigError } from "../base/errors.js";

/** Any number of segments. */
export const DEEP = Symbol("**");

/** A segment of a path as an entry has it. */
export type Segment = string | RegExp | typeof DEEP;

/** How an entry is read. */
export type MatchMode =
  | "name"
  | "suffix"
  | "path"
  | "exact"
  | "pattern"
  | "regex"
  | "kind"
  | "scope"
  | "all-linear";

export interface PathReading {
  readonly segments: readonly Segment[];
  /** Whether the whole path has to fit, not its end alone. */
  readonly anchored: boolean;
}

/** An entry that has been understood. */
export interface ParsedEntry {
  /** As the user wrote it, for texts. */
  readonly label: string;
  readonly optional: boolean;
  /** Whether it takes modules out of its list. */
  readonly negated: boolean;
  readonly mode: MatchMode;
  readonly path?: PathReading;
  readonly regex?: RegExp;
  readonly kinds?: ReadonlySet<ModuleKind>;
  readonly scope?: { readonly within: PathReading; readonly entries: readonly ParsedEntry[] };
}

export interface ParseContext {
  /** Name of the option, for errors. */
  readonly option: string;
  /** Whether a text is the path of a module, which it then means alone. */
  readonly isPath: (text: string) => boolean;
}

const MOST_LAYERS = 100_000;

function syntaxFault(option: string, label: string, reason: string, fix: string): ConfigError {
  return new ConfigError({
    code: "pattern_syntax",
    summary: `${option}: ${label} cannot be read.`,
    facts: [["reason", reason]],
    fixes: [fix],
    fields: { option, entry: label },
  });
}

/**
 * A regular expression that has to fit a whole path, in the syntax that Python and JavaScript share; `(?P<name>` and a leading
 * `(?i)` are taken too.
 *
 * @throws {@link ConfigError} `pattern_syntax`
 */
export function pathExpression(pattern: string, option: string): RegExp {
  const ignoreCase = pattern.startsWith("(?i)");
  const body = (ignoreCase ? pattern.slice(4) : pattern).replaceAll("(?P<", "(?<");
  try {
    return new RegExp(`^(?:${body})$`, ignoreCase ? "is" : "s");
  } catch (error) {
    throw new ConfigError({
      code: "pattern_syntax",
      summary: `${option}: "${pattern}" is not a regular expression.`,
      facts: [["reason", (error as Error).message]],
      fixes: [`for a name, write a list: ${option}: ["${pattern}"]`],
      fields: { option, pattern },
    });
  }
}

const escape = (text: string): string => text.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&");

/** `{0-3,8}` as the numbers and words it stands for. */
function alternatives(set: string, fault: (reason: string) => ConfigError): string {
  const items = set.split(",").map((item) => item.trim());
  if (items.some((item) => item === "")) throw fault("a set in braces has an empty part");
  return items
    .flatMap((item) => {
      const range = /^(\d+)-(\d+)$/.exec(item);
      if (range === null) return [escape(item)];
      const [from, to] = [Number(range[1]), Number(range[2])];
      if (to < from || to - from > MOST_LAYERS) throw fault(`${item} is no range of layers`);
      return Array.from({ length: to - from + 1 }, (_, i) => String(from + i));
    })
    .join("|");
}

function parseSegment(text: string, fault: (reason: string) => ConfigError): Segment {
  if (text === "") throw fault("two dots stand together, or one at an end");
  if (text === "**") return DEEP;
  if (text.includes("**")) throw fault("** stands for whole segments: write it between dots");
  if (!/[*{}]/.test(text)) return text;
  const parts = text.split(/(\*|\{[^{}]*\})/);
  const expression = parts.map((part) => {
    if (part === "*") return "[^.]*";
    if (part.startsWith("{") && part.endsWith("}")) return `(?:${alternatives(part.slice(1, -1), fault)})`;
    if (/[{}]/.test(part)) throw fault("braces do not pair");
    return escape(part);
  });
  return new RegExp(`^${expression.join("")}$`);
}

const REGEX_SIGNS = /[\\^$()[\]|+?]/;

function parsePath(text: string, label: string, context: ParseContext): PathReading {
  const { option } = context;
  const fix = `write names between dots, such as "self_attn.q_proj", or { "regex": "..." }`;
  const fault = (reason: string): ConfigError => syntaxFault(option, label, reason, fix);
  if (REGEX_SIGNS.test(text)) {
    throw syntaxFault(
      option,
      label,
      "an entry of a list is a name; this looks like a regular expression",
      `${option}: [{ "regex": ${JSON.stringify(text)} }]`,
    );
  }
  const segments = text.split(".").map((segment) => parseSegment(segment, fault));
  return { segments, anchored: context.isPath(text) };
}

/** How a text of a list is read: by what stands in it, and by whether it is the path of a module. */
function textMode({ segments, anchored }: PathReading): MatchMode {
  if (segments.some((segment) => typeof segment !== "string")) return "pattern";
  if (anchored) return "path";
  return segments.length === 1 ? "name" : "suffix";
}

function parseText(written: string, optional: boolean, context: ParseContext): ParsedEntry {
  const negated = written.startsWith("!");
  const text = negated ? written.slice(1) : written;
  const label = JSON.stringify(written);
  if (text.toLowerCase() === "all-linear") {
    return { label, optional, negated, mode: "all-linear", kinds: new Set(["linear", "conv1d"]) };
  }
  const path = parsePath(text, label, context);
  return { label, optional, negated, mode: textMode(path), path };
}

/** An object as a person would write it: `{ regex: ".*" }`. */
const objectLabel = (entry: object): string =>
  JSON.stringify(entry)
    .replace(/"(\w+)":/g, "$1: ")
    .replaceAll(",", ", ")
    .replace(/^\{/, "{ ")
    .replace(/\}$/, " }");

function parseOne(entry: ModuleEntry, context: ParseContext): ParsedEntry[] {
  if (typeof entry === "string") return [parseText(entry, false, context)];
  const optional = entry.optional === true;
  const { optional: _, ...rest } = entry;
  const label = objectLabel(rest);
  const common = { label, optional, negated: false };
  if ("exact" in entry) {
    const path = { segments: entry.exact.split("."), anchored: true };
    return [{ ...common, mode: "exact", path }];
  }
  if ("regex" in entry)
    return [{ ...common, mode: "regex", regex: pathExpression(entry.regex, context.option) }];
  if ("kind" in entry) return [{ ...common, mode: "kind", kinds: new Set([entry.kind]) }];
  if (entry.within !== undefined) {
    const within = parsePath(entry.within, label, { ...context, isPath: () => false });
    // Paths below a scope are read from the scope on, so that the whole path of a module is no special case there.
    const entries = parseEntries(entry.match, { ...context, isPath: () => false });
    return [{ ...common, mode: "scope", scope: { within, entries } }];
  }
  if (typeof entry.match === "string") return [parseText(entry.match, optional, context)];
  return parseEntries(entry.match, context).map((inner) => ({
    ...inner,
    optional: optional || inner.optional,
  }));
}

/** Entries of a list; one text is one entry. */
export function parseEntries(
  entries: ModuleEntry | readonly ModuleEntry[],
  context: ParseContext,
): ParsedEntry[] {
  const list = Array.isArray(entries) ? (entries as readonly ModuleEntry[]) : [entries as ModuleEntry];
  return list.flatMap((entry) => parseOne(entry, context));
}

/**
 * Reads the value of an option: a bare text is a regular expression or `all-linear`, as Hugging Face has it; anything else is a
 * list of entries.
 *
 * @throws {@link ConfigError} `pattern_syntax`
 */
export function parsePattern(pattern: ModulePattern, context: ParseContext): ParsedEntry[] {
  if (typeof pattern !== "string")
    return parseEntries(pattern as ModuleEntry | readonly ModuleEntry[], context);
  if (pattern.toLowerCase() === "all-linear") return [parseText(pattern, false, context)];
  const regex = pathExpression(pattern, context.option);
  return [{ label: JSON.stringify(pattern), optional: false, negated: false, mode: "regex", regex }];
}

/**
 * Reads a key of `rankPattern` and its like: a name, suffix, path or pattern; with the signs of a regular expression it is one,
 * which has to fit the end of the path, as Hugging Face has it.
 *
 * @throws {@link ConfigError} `pattern_syntax`
 */
export function parseKey(key: string, context: ParseContext): ParsedEntry {
  const label = JSON.stringify(key);
  if (!REGEX_SIGNS.test(key) && !key.includes(".*")) return parseText(key, false, context);
  const body = `(?:.*\\.)?(?:${key})`;
  return {
    label,
    optional: false,
    negated: false,
    mode: "regex",
    regex: pathExpression(body, context.option),
  };
}
