import { Command, CommanderError } from "commander";
import { ConfigError, InternalError, NonFiniteError, OutOfMemoryError, PeftError } from "./base/errors.js";
import { suggest } from "./base/suggest.js";
import { VERSION } from "./base/version.js";
import { buildCommand } from "./cli/flags.js";
import { loadPlugins } from "./cli/plugins.js";
import { processTerminal } from "./cli/terminal.js";

/** 2 for what the user can mend before running, 1 for a run that failed. */
function exitCode(error: unknown): number {
  if (error instanceof NonFiniteError || error instanceof OutOfMemoryError || error instanceof InternalError)
    return 1;
  return error instanceof PeftError ? 2 : 1;
}

/** The exit code of a command that Ctrl-C has ended. */
const INTERRUPTED = 130;

function report(error: unknown, debug: boolean): void {
  if (error instanceof PeftError && !debug) process.stderr.write(`${error.message}\n`);
  else if (error instanceof Error) {
    const note = "This is a bug in peft.js: report it with this text and the command that led here.";
    process.stderr.write(
      debug
        ? `${error.stack ?? error.message}\n`
        : `${error.message}\n  note  ${note}\n        --debug shows where\n`,
    );
  } else process.stderr.write(`${String(error)}\n`);
}

/** What commander says of a command line that it cannot read, in our words. */
function usageError(error: CommanderError, argv: readonly string[], program: Command): ConfigError {
  const names = program.commands.map((command) => command.name());
  const command = program.commands.find((one) => one.name() === argv[0]);
  const unknown = /unknown (?:option|command) '([^']+)'/.exec(error.message)?.[1];
  if (unknown === undefined) {
    return new ConfigError({
      code: "usage",
      summary:
        `${error.message.replace(/^error: /, "").replace(/^\w/, (letter) => letter.toUpperCase())}.`.replace(
          /\.\.$/,
          ".",
        ),
      fixes: [`peft ${command?.name() ?? ""} --help`.replace("  ", " ")],
    });
  }
  const known = unknown.startsWith("-") ? (command?.options.map(({ long }) => long ?? "") ?? []) : names;
  const near = suggest(unknown, known);
  return new ConfigError({
    code: "unknown_key",
    summary: `There is no ${unknown.startsWith("-") ? `flag ${unknown}` : `command "${unknown}"`}.`,
    ...(near.length > 0 ? { facts: [["nearest", near.join(", ")] as const] } : {}),
    fixes: [command === undefined ? "peft --help" : `peft ${command.name()} --help`],
    fields: { unknown, suggestions: near },
  });
}

/** Whoever read the output has gone, as `head` does: a run goes on without it, since there may be something to save. */
function ignoreClosedPipe(error: NodeJS.ErrnoException): void {
  if (error.code !== "EPIPE") throw error;
}

/** Runs the command line and answers its exit code. */
export async function main(argv: readonly string[]): Promise<number> {
  const debug = argv.includes("--debug");
  const terminal = processTerminal();
  const controller = new AbortController();
  const interrupt = (): void => {
    if (controller.signal.aborted) process.exit(INTERRUPTED);
    controller.abort(new DOMException("Interrupted", "AbortError"));
  };
  process.on("SIGINT", interrupt);
  process.stdout.on("error", ignoreClosedPipe);
  process.stderr.on("error", ignoreClosedPipe);
  let code = 0;
  let rest: readonly string[] = [];
  const program = new Command("peft")
    .description(
      "Parameter-efficient fine-tuning: train, verify, save, merge and run small adapters of large models.",
    )
    .version(VERSION)
    .option("--debug", "shows where an error came from")
    .option("--plugin <module>", "uses the methods that a module or package exports; can be given again")
    .showHelpAfterError(false)
    .exitOverride()
    .configureOutput({ writeErr: () => undefined });
  try {
    rest = await loadPlugins(argv.filter((arg) => arg !== "--debug"));
    // Flags come from the registry of methods, so that plug-ins have to be there first.
    const { commands } = await import("./commands/index.js");
    for (const definition of Object.values(commands)) {
      const command = buildCommand(definition, async (args, flags) => {
        code = await definition.run({ args, flags, terminal, signal: controller.signal });
      });
      program.addCommand(command.exitOverride().configureOutput({ writeErr: () => undefined }));
    }
    if (rest.length === 0) {
      program.outputHelp();
      return 0;
    }
    await program.parseAsync(rest, { from: "user" });
    return code;
  } catch (error) {
    terminal.progress("");
    if (error instanceof CommanderError) {
      if (error.exitCode === 0) return 0;
      const fault = usageError(error, rest, program);
      report(fault, false);
      return 2;
    }
    if (error === controller.signal.reason) {
      process.stderr.write("Interrupted\n");
      return INTERRUPTED;
    }
    report(error, debug);
    return exitCode(error);
  } finally {
    process.off("SIGINT", interrupt);
  }
}
