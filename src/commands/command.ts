import type { Options } from "../base/option.js";
import type { Terminal } from "../cli/terminal.js";

/** What a command gets when it runs. */
export interface CommandContext {
  /** Positional arguments, in the order they are declared. */
  readonly args: readonly string[];
  /** Values of flags that were given, by camelCase name, checked by the command itself. */
  readonly flags: Readonly<Record<string, unknown>>;
  readonly terminal: Terminal;
  /** Aborted by Ctrl-C. */
  readonly signal: AbortSignal;
}

/** A positional argument. */
export interface CommandArgument {
  /** As the usage line shows it: `<model>` where it is needed, `[run.yaml]` where it is not. */
  readonly name: string;
  readonly doc: string;
}

/** A command of the command line. */
export interface CommandDefinition {
  readonly name: string;
  readonly summary: string;
  readonly args: readonly CommandArgument[];
  /** Flags, declared once: name, type, default, help. */
  readonly options: Options;
  /** Lines of the help that show how it is used. */
  readonly examples: readonly string[];
  /** Runs it; the number is the exit code. */
  run(context: CommandContext): Promise<number>;
}

/**
 * Declares a command.
 *
 * @example
 * export const env = defineCommand({ name: "env", summary: "...", args: [], options: {}, examples: [], run: async () => 0 });
 */
export function defineCommand(definition: CommandDefinition): CommandDefinition {
  return definition;
}
