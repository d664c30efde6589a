/** One labelled line under the first line of an error, such as `expected  (512, 2048)`. */
export type Fact = readonly [label: string, text: string];

/** What an error is made of; the text is built from these parts and from nothing else. */
export interface ErrorParts {
  /** Cause in snake_case, the same string in TypeScript, on the command line and over HTTP. */
  readonly code: string;
  /** One sentence that names the thing and the value. */
  readonly summary: string;
  /** Where, expected, got: shown indented and aligned. */
  readonly facts?: readonly Fact[];
  /** Cures that can be pasted, cheapest first. */
  readonly fixes?: readonly string[];
  /** Every number and name of the text, for programs. */
  readonly fields?: Readonly<Record<string, unknown>>;
  readonly cause?: unknown;
}

/** Builds the text of an error: summary, aligned facts, then cures. */
export function renderError(parts: Pick<ErrorParts, "summary" | "facts" | "fixes">): string {
  const facts = parts.facts ?? [];
  const width = Math.max(0, ...facts.map(([label]) => label.length));
  const lines = [parts.summary];
  for (const [label, text] of facts) {
    const [first = "", ...rest] = text.split("\n");
    lines.push(`  ${label.padEnd(width)}  ${first}`.trimEnd());
    for (const line of rest) lines.push(`  ${" ".repeat(width)}  ${line}`.trimEnd());
  }
  for (const [index, fix] of (parts.fixes ?? []).entries())
    lines.push(`${index === 0 ? "fix: " : " or: "}${fix}`);
  return lines.join("\n");
}

/**
 * The root of every error that peft.js throws on purpose.
 *
 * @example
 * try { await getPeftModel(base, config); } catch (error) { if (error instanceof PeftError) console.log(error.code); }
 */
export abstract class PeftError extends Error {
  readonly code: string;
  readonly summary: string;
  readonly facts: readonly Fact[];
  readonly fixes: readonly string[];
  readonly fields: Readonly<Record<string, unknown>>;

  constructor(parts: ErrorParts) {
    super(renderError(parts), parts.cause === undefined ? undefined : { cause: parts.cause });
    this.name = new.target.name;
    this.code = parts.code;
    this.summary = parts.summary;
    this.facts = parts.facts ?? [];
    this.fixes = parts.fixes ?? [];
    this.fields = parts.fields ?? {};
  }

  toJSON(): { name: string; code: string; message: string; fields: Readonly<Record<string, unknown>> } {
    return { name: this.name, code: this.code, message: this.message, fields: this.fields };
  }
}

/** An option, a run file or a data set says something that cannot be done. */
export class ConfigError extends PeftError {}

/** A module pattern matches nothing, too much, or something that cannot be adapted. */
export class TargetError extends PeftError {}

/** Sizes or element types do not fit together. */
export class ShapeError extends PeftError {}

/** A file of weights is missing, damaged, incomplete or made for another model. */
export class CheckpointError extends PeftError {}

/** A loss, gradient or weight became NaN or infinite. */
export class NonFiniteError extends PeftError {}

/** There is not enough memory or disk for what was asked. */
export class OutOfMemoryError extends PeftError {}

/** The request is understood, and this build or machine has no way to do it. */
export class UnsupportedError extends PeftError {}

/** A fault of peft.js itself. */
export class InternalError extends PeftError {
  constructor(summary: string, fields: Readonly<Record<string, unknown>> = {}, cause?: unknown) {
    super({
      code: "internal_error",
      summary,
      facts: [["note", "This is a bug in peft.js: report it with this text and the command that led here."]],
      fields,
      cause,
    });
  }
}
