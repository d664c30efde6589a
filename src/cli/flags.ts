import { Command, Option as Flag } from "commander";
import type { Option } from "../base/option.js";
import { toKebabCase } from "../base/spelling.js";
import type { CommandDefinition } from "../commands/command.js";

/** The default as the help shows it. */
function shownDefault({ default: value }: Option<unknown>): string {
  if (value === undefined || value === "" || value === false || (typeof value === "object" && value !== null))
    return "";
  return ` (default ${JSON.stringify(value)})`;
}

/** Adds the flags of a declared option: `--use-rslora`, `--no-shuffle`, `--r <integer>`. */
function addFlag(command: Command, name: string, option: Option<unknown>): void {
  const flag = toKebabCase(name);
  const doc = `${option.doc}${shownDefault(option)}`;
  if (option.placeholder === undefined) {
    command.addOption(new Flag(`--${option.default === true ? "no-" : ""}${flag}`, doc));
    return;
  }
  command.addOption(
    new Flag(`--${flag} ${option.placeholder}`, doc).argParser((text) => option.fromText(text)),
  );
  for (const alias of option.aliases ?? []) {
    command.addOption(
      new Flag(`--${toKebabCase(alias)} ${option.placeholder}`, doc)
        .argParser((text) => option.fromText(text))
        .hideHelp(),
    );
  }
}

/** A declared command as one of commander's; `run` gets its arguments and the flags that were given. */
export function buildCommand(
  definition: CommandDefinition,
  run: (args: readonly string[], flags: Record<string, unknown>) => Promise<void>,
): Command {
  const command = new Command(definition.name).description(definition.summary);
  for (const { name, doc } of definition.args) command.argument(name, doc);
  for (const [name, option] of Object.entries(definition.options)) addFlag(command, name, option);
  if (definition.examples.length > 0) {
    command.addHelpText("after", `\nExamples:\n${definition.examples.map((line) => `  ${line}`).join("\n")}`);
  }
  command.action(async () => {
    const given = Object.entries(command.opts()).filter(
      ([name]) => command.getOptionValueSource(name) === "cli",
    );
    const args = command.processedArgs.flat().filter((arg): arg is string => typeof arg === "string");
    await run(args, Object.fromEntries(given));
  });
  return command;
}
