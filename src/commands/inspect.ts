import { existsSync } from "node:fs";
import { stat } from "node:fs/promises";
import { extname, join } from "node:path";
import { CLOZE_FILE, readClozeFile } from "../auto/auto-cloze.js";
import { findModel } from "../auto/open-pretrained.js";
import { buildModel, taskOfCheckpoint } from "../models/model.js";
import { loadWeights } from "../auto/load-weights.js";
import { countedBuffer } from "../base/large-buffer.js";
import { integer, type Options, optionalText } from "../base/option.js";
import { readOptions } from "../base/read-options.js";
import { toSnakeCase } from "../base/spelling.js";
import { dataPath, modelPath } from "../cli/embedded.js";
import { formatBytes, formatCount } from "../cli/format.js";
import { moduleTree } from "../cli/module-tree.js";
import type { Terminal } from "../cli/terminal.js";
import { openCheckpoint } from "../files/checkpoint.js";
import { readRows } from "../files/data-file.js";
import { resolveModel } from "../files/hub.js";
import { findMethod } from "../peft/method-registry.js";
import { namedParameters } from "../nn/module.js";
import { RawConfig } from "../nn/raw-config.js";
import { readAdapterConfig } from "../peft/hf-format.js";
import { openAdapter } from "../peft/open-adapter.js";
import { describeExample } from "../text/describe-example.js";
import { encodeDataset, type Dataset } from "../text/dataset.js";
import { encodeSeq2SeqDataset } from "../text/seq2seq-dataset.js";
import { type Tokenizer, tokenizerFromFiles } from "../text/tokenizer.js";
import { defineCommand } from "./command.js";

const options = {
  model: optionalText({
    doc: "Model whose tokenizer and chat template a data set is shown with.",
    placeholder: "<path|id>",
  }),
  rows: integer({ default: 3, min: 1, doc: "Rows of a data set that are shown in full." }),
  maxLength: integer({ default: 1024, min: 2, doc: "Longest example in tokens, for a data set." }),
};

const DATA_KINDS = [".jsonl", ".ndjson", ".json", ".csv"];

/** A model: its tree, from the headers of its files alone. */
async function inspectModel(name: string, terminal: Terminal): Promise<void> {
  const checkpoint = await openCheckpoint(await resolveModel(modelPath(name)));
  try {
    const values = checkpoint.config();
    const definition = findModel(values, checkpoint.path);
    const config = new RawConfig(values, `${checkpoint.path}/config.json`);
    const module = buildModel(definition, taskOfCheckpoint(definition, values), config);
    const { unexpected } = loadWeights(module, checkpoint, {
      dtype: "auto",
      bfloat16Inputs: true,
      buffers: countedBuffer,
      bodyPrefix: definition.prefix,
      freshHead: true,
    });
    for (const line of moduleTree(module)) terminal.line(line);
    const parameters = [...namedParameters(module)].map(([, parameter]) => parameter);
    const stored = new Map<string, number>();
    for (const tensor of checkpoint.names()) {
      const { storedAs } = checkpoint.describe(tensor);
      stored.set(storedAs, (stored.get(storedAs) ?? 0) + 1);
    }
    terminal.line();
    terminal.line(`model type      ${definition.modelType} (${definition.title})`);
    terminal.line(`parameters      ${formatCount(parameters.reduce((sum, { size }) => sum + size, 0))}`);
    terminal.line(`stored as       ${[...stored].map(([type, count]) => `${type} (${count})`).join(", ")}`);
    const context = definition.contextLength(config);
    terminal.line(`context         ${context === Infinity ? "no limit" : `${formatCount(context)} tokens`}`);
    terminal.line(
      `chat template   ${checkpoint.tokenizerFiles() === undefined ? "no tokenizer" : templateNote(checkpoint.tokenizerFiles()!)}`,
    );
    terminal.line(`LoRA default    ${definition.defaultTargets["LORA"]?.join(", ") ?? "none"}`);
    if (unexpected.length > 0) terminal.line(`not used        ${unexpected.slice(0, 5).join(", ")}`);
  } finally {
    checkpoint.close();
  }
}

const templateNote = (files: Parameters<typeof tokenizerFromFiles>[0]): string =>
  tokenizerFromFiles(files).chatTemplate === undefined ? "none" : "yes";

/** An adapter folder: what it is, and what it holds. */
async function inspectAdapter(folder: string, terminal: Terminal): Promise<void> {
  const { config, configPath, weights } = await openAdapter(folder);
  try {
    const { config: read, baseModel } = readAdapterConfig(config, configPath);
    const { peftType, ...settings } = read;
    const declared: Options = findMethod(peftType).config;
    const shapes = new Map<string, number>();
    let parameters = 0;
    let bytes = 0;
    for (const [name, { shape, byteLength }] of weights.tensors) {
      const key = `${name.replace(/\.\d+\./, ".*.")}  (${shape.join(", ")})`;
      shapes.set(key, (shapes.get(key) ?? 0) + 1);
      parameters += shape.reduce((a, b) => a * b, 1);
      bytes += byteLength;
    }
    terminal.line(`method             ${peftType}`);
    terminal.line(`base model         ${baseModel ?? "(not said)"}`);
    for (const [key, value] of Object.entries(settings)) {
      const off = value === false && declared[key]?.default === false;
      const empty =
        off || value === undefined || (typeof value === "object" && Object.keys(value ?? {}).length === 0);
      if (!empty) terminal.line(`${toSnakeCase(key).padEnd(18)} ${JSON.stringify(value)}`);
    }
    const sidecar = join(folder, CLOZE_FILE);
    const cloze = existsSync(sidecar) ? Object.entries(await readClozeFile(folder)) : [];
    for (const [key, value] of cloze)
      terminal.line(`${toSnakeCase(key).padEnd(18)} ${JSON.stringify(value)}`);
    terminal.line(
      `parameters         ${formatCount(parameters)} in ${weights.tensors.size} tensors, ${formatBytes(bytes)}`,
    );
    terminal.line();
    for (const [key, count] of shapes) terminal.line(`${String(count).padStart(4)} × ${key}`);
  } finally {
    weights.close();
  }
}

function showRows(dataset: Dataset, tokenizer: Tokenizer, count: number, terminal: Terminal): void {
  const colour = terminal.interactive && process.stdout.isTTY;
  for (const example of dataset.examples.slice(0, count)) {
    const tokens = example.inputIds.length + (example.labelsApart === true ? example.labels.length : 0);
    terminal.line(`── ${example.source}  ${tokens} tokens, ${example.trained} learnt`);
    const text = describeExample(example, tokenizer).map((stretch) =>
      stretch.learnt ? (colour ? `\u001b[32m${stretch.text}\u001b[0m` : `[[${stretch.text}]]`) : stretch.text,
    );
    terminal.line(text.join(""));
  }
}

/** A data set: its rows as the model would read them, and how many tokens are learnt. */
async function inspectData(
  file: string,
  model: string,
  settings: { rows: number; maxLength: number },
  terminal: Terminal,
): Promise<void> {
  const checkpoint = await openCheckpoint(await resolveModel(modelPath(model)));
  try {
    const files = checkpoint.tokenizerFiles();
    const tokenizer = tokenizerFromFiles(files ?? { tokenizer: {}, config: {} });
    const config = checkpoint.config();
    const task = taskOfCheckpoint(findModel(config, checkpoint.path), config);
    const encode = task === "SEQ_2_SEQ_LM" ? encodeSeq2SeqDataset : encodeDataset;
    const dataset = encode(await readRows(dataPath(file)), tokenizer, { maxLength: settings.maxLength });
    showRows(dataset, tokenizer, settings.rows, terminal);
    const { rows, tokens, trainedTokens, longest, truncatedRows, skippedRows } = dataset.summary;
    terminal.line();
    terminal.line(
      `rows         ${formatCount(rows)}${skippedRows > 0 ? `, ${skippedRows} left out (nothing of their answer left)` : ""}`,
    );
    terminal.line(
      `tokens       ${formatCount(tokens)}, ${formatCount(trainedTokens)} learnt (in ${terminal.interactive ? "green" : "[[ ]]"})`,
    );
    terminal.line(
      `longest      ${formatCount(longest)} tokens${truncatedRows > 0 ? `; ${truncatedRows} rows are cut at ${settings.maxLength}` : ""}`,
    );
  } finally {
    checkpoint.close();
  }
}

/** `peft inspect`: shows a model, an adapter folder or a data set. */
export const inspect = defineCommand({
  name: "inspect",
  summary: "Shows a model, an adapter folder, or a data set as it will be learnt.",
  args: [{ name: "<what>", doc: "Model folder, .gguf file or Hub id; adapter folder; data file." }],
  options,
  examples: ["peft inspect embedded", "peft inspect out", "peft inspect data.jsonl --model model.gguf"],
  async run({ args, flags, terminal }) {
    const settings = readOptions(options, flags, {
      source: "The command line",
      spelling: "kebab-case",
      fix: "peft inspect --help",
    });
    const [what = ""] = args;
    const folder = (await stat(what).catch(() => undefined))?.isDirectory() === true;
    if (folder && existsSync(join(what, "adapter_config.json"))) await inspectAdapter(what, terminal);
    else if (DATA_KINDS.includes(extname(what).toLowerCase()) || what.startsWith("embedded/")) {
      await inspectData(what, settings.model ?? "embedded", settings, terminal);
    } else await inspectModel(what, terminal);
    return 0;
  },
});
