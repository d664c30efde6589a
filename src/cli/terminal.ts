/** Where a command writes to. */
export interface Terminal {
  /** Whether a person is watching: colours and lines that change in place are right. */
  readonly interactive: boolean;
  readonly columns: number;
  /** A line of results. */
  line(text?: string): void;
  /** Text of results without a line break. */
  write(text: string): void;
  /** A line about the work itself, on the error stream. */
  note(text: string): void;
  /** Replaces the line that shows progress; an empty text clears it. */
  progress(text: string): void;
}

/** The terminal of this process. */
export function processTerminal(): Terminal {
  const { stdout, stderr } = process;
  const interactive = stderr.isTTY === true;
  let shown = false;
  const clear = (): void => {
    if (shown) stderr.write("\r\u001b[2K");
    shown = false;
  };
  return {
    interactive,
    columns: stderr.columns ?? 100,
    line(text = "") {
      clear();
      stdout.write(`${text}\n`);
    },
    write(text) {
      clear();
      stdout.write(text);
    },
    note(text) {
      clear();
      stderr.write(`${text}\n`);
    },
    progress(text) {
      if (!interactive) return;
      clear();
      if (text === "") return;
      stderr.write(text.slice(0, (stderr.columns ?? 100) - 1));
      shown = true;
    },
  };
}
