import { pickQuantisation, quantisationOptions } from "../auto/quantisation-options.js";
import { choice, text } from "../base/option.js";
import { readOptions } from "../base/read-options.js";
import { openModel, useCommand } from "../cli/open-model.js";
import { ensureWritableFolder } from "../files/atomic-write.js";
import { attachedPaths } from "../peft/attached-adapter.js";
import type { RequantisedReport } from "../peft/requantise.js";
import { defineCommand } from "./command.js";

const options = {
  outputDir: text({ default: "merged", doc: "Folder for the merged model.", placeholder: "<folder>" }),
  dtype: choice({
    values: ["auto", "float32", "float16", "bfloat16"],
    default: "auto",
    doc: "Type of the merged weights; auto keeps that of the model, codes included.",
  }),
  ...quantisationOptions,
};

/** What putting merged weights into codes again has cost, and how to do without. */
function requantisedNote({ weights, error, update }: RequantisedReport): string {
  const percent = (share: number): string => `${(100 * share).toPrecision(2)} %`;
  return `${weights} merged weights were put into codes again: rounding moved them by ${percent(error)}, the adapter by ${percent(update)}   (--dtype float32 writes them as they are)`;
}

/** `peft merge`: adds an adapter to the weights and writes a model folder. */
export const merge = defineCommand({
  name: "merge",
  summary: "Adds an adapter to the weights and writes an ordinary model folder.",
  args: [
    { name: "<model>", doc: "Model folder, .gguf file or Hub id; or embedded." },
    { name: "<adapter>", doc: "Adapter folder." },
  ],
  options,
  examples: ["peft merge embedded out --output-dir merged"],
  async run({ args, flags, terminal, signal }) {
    const settings = readOptions(options, flags, {
      source: "The command line",
      spelling: "kebab-case",
      fix: "peft merge --help",
    });
    const [name = "", adapter = ""] = args;
    await ensureWritableFolder(settings.outputDir);
    const { base, model } = await openModel(name, adapter, {
      ...pickQuantisation(settings),
      terminal,
      signal,
    });
    try {
      const count = attachedPaths(model!.adapter()).length;
      const merged = await model!.mergeAndUnload({
        signal,
        requantise: settings.dtype === "auto",
        onRequantised: (report) => terminal.note(requantisedNote(report)),
      });
      await merged.savePretrained(settings.outputDir, { dtype: settings.dtype });
      terminal.line(
        `merged ${count} modules; saved: ${settings.outputDir}   (use it: peft ${useCommand(base)} ${settings.outputDir})`,
      );
      return 0;
    } finally {
      await base.close();
    }
  },
});
