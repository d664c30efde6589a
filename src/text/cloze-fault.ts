import { ConfigError } from "../base/errors.js";

/** Something that a cloze cannot be made with. */
export interface ClozeFault {
  readonly where: "template" | "verbalizer" | "tokenizer" | "rows";
  /** What is wrong, as the end of a line that begins with `where`. */
  readonly text: string;
  readonly cure?: string | undefined;
}

/** The error that says all faults at once. */
export function clozeError(faults: readonly ClozeFault[]): ConfigError {
  const cures = [...new Set(faults.flatMap(({ cure }) => (cure === undefined ? [] : [cure])))];
  return new ConfigError({
    code: "cloze",
    summary: faults.length === 1 ? "The cloze has a fault." : `The cloze has ${faults.length} faults.`,
    facts: faults.map(({ where, text }) => [where, text] as const),
    fixes: cures.slice(0, 3),
    fields: { faults },
  });
}

/**
 * Throws where there are faults.
 *
 * @throws {@link ConfigError} `cloze`
 */
export function assertNoClozeFaults(faults: readonly ClozeFault[]): void {
  if (faults.length > 0) throw clozeError(faults);
}
