import { findModel } from "../auto/open-pretrained.js";
import { optionalText } from "../base/option.js";
import { readOptions } from "../base/read-options.js";
import { modelPath } from "../cli/embedded.js";
import {
  type CountedModel,
  GUIDANCE,
  methodExample,
  methodTable,
  optionLines,
  TABLE_NOTES,
} from "../cli/method-text.js";
import type { Terminal } from "../cli/terminal.js";
import { openCheckpoint } from "../files/checkpoint.js";
import { resolveModel } from "../files/hub.js";
import type { MethodDefinition } from "../methods/method.js";
import { buildModel, taskOfCheckpoint } from "../models/model.js";
import { RawConfig } from "../nn/raw-config.js";
import { allMethods, findMethod } from "../peft/method-registry.js";
import { defineCommand } from "./command.js";

const options = {
  model: optionalText({ doc: "Model to count the trained parameters on.", placeholder: "<path|id>" }),
};

/** The modules of a model, from its config alone. */
async function modelWithoutWeights(name: string): Promise<CountedModel> {
  const checkpoint = await openCheckpoint(await resolveModel(modelPath(name)));
  try {
    const values = checkpoint.config();
    const definition = findModel(values, checkpoint.path);
    const config = new RawConfig(values, `${checkpoint.path}/config.json`);
    return { name, definition, module: buildModel(definition, taskOfCheckpoint(definition, values), config) };
  } finally {
    checkpoint.close();
  }
}

/** Rows with every column as wide as its widest entry. */
function aligned(rows: readonly (readonly string[])[]): string[] {
  const widths = rows[0]!.map((_, i) => Math.max(...rows.map((row) => row[i]!.length)));
  return rows.map((row) =>
    row
      .map((text, i) => text.padEnd(widths[i]!))
      .join("  ")
      .trimEnd(),
  );
}

function showAll(model: CountedModel | undefined, terminal: Terminal): void {
  for (const line of aligned(methodTable(allMethods().values(), model))) terminal.line(line);
  terminal.line();
  for (const note of TABLE_NOTES) terminal.line(note);
  if (model === undefined)
    terminal.line("parameters: a module that is adapted; --model shows their number for a model");
  terminal.line();
  for (const line of GUIDANCE) terminal.line(`- ${line}`);
  terminal.line();
  terminal.line(`more about one: peft methods ${[...allMethods().keys()][0]!}`);
}

function showOne(method: MethodDefinition, model: CountedModel | undefined, terminal: Terminal): void {
  const [[, ...names], row] = methodTable([method], model) as [string[], string[]];
  terminal.line(`${method.name}  ${method.title}`);
  terminal.line();
  terminal.line(method.advice);
  terminal.line();
  terminal.line(`formula      ${method.formula}`);
  for (const [i, name] of names.entries()) terminal.line(`${name.padEnd(11)}  ${row[i + 1]!}`);
  terminal.line();
  terminal.line("options");
  const rows = optionLines(method).map(({ flag, default: value, range, doc }) => [
    `  ${flag}`,
    value,
    range,
    doc,
  ]);
  for (const line of aligned([["  flag", "default", "values", ""], ...rows])) terminal.line(line);
  terminal.line();
  for (const line of methodExample(method)) terminal.line(line);
}

/** `peft methods`: what there is, what it costs and when to choose it. */
export const methods = defineCommand({
  name: "methods",
  summary: "Shows the methods: formula, parameters, abilities, options, and when to choose which.",
  args: [{ name: "[method]", doc: "A method to show in full, such as LORA." }],
  options,
  examples: ["peft methods", "peft methods --model embedded", "peft methods LORA"],
  async run({ args, flags, terminal }) {
    const settings = readOptions(options, flags, {
      source: "The command line",
      spelling: "kebab-case",
      fix: "peft methods --help",
    });
    const method =
      args[0] === undefined
        ? undefined
        : findMethod(args[0].toUpperCase().replaceAll("-", "_"), "The method");
    const model = settings.model === undefined ? undefined : await modelWithoutWeights(settings.model);
    if (method === undefined) showAll(model, terminal);
    else showOne(method, model, terminal);
    return 0;
  },
});
