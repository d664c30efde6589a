import { takesCloze } from "../auto/auto-cloze.js";
import { LanguageModel } from "../auto/language-model.js";
import type { PretrainedModel } from "../auto/pretrained-model.js";
import { pickQuantisation, quantisationOptions } from "../auto/quantisation-options.js";
import { ConfigError } from "../base/errors.js";
import { integer, optionalText } from "../base/option.js";
import { readOptions } from "../base/read-options.js";
import { givenCloze } from "../cli/cloze-run.js";
import { dataPath } from "../cli/embedded.js";
import { arithmetic } from "../cli/arithmetic.js";
import type { Arithmetic } from "../nn/runner.js";
import { isLabelling, labelledDataset, predictText } from "../cli/label-texts.js";
import { openModel } from "../cli/open-model.js";
import { columns } from "../cli/run-settings.js";
import { askedTasks, taskIdOption, tasksOf } from "../cli/task-names.js";
import { readRows } from "../files/data-file.js";
import { clozeOptions } from "../text/cloze-options.js";
import { withTask } from "../text/task-ids.js";
import { evaluate } from "../train/train.js";
import { defineCommand } from "./command.js";

const options = {
  adapter: optionalText({ doc: "Adapter folder to use with the model.", placeholder: "<folder>" }),
  dataset: optionalText({ doc: "Rows with labels, to measure the model on.", placeholder: "<file>" }),
  question: optionalText({ doc: "What is asked of each text, for models that find answers." }),
  taskId: taskIdOption,
  maxLength: integer({ default: 512, min: 2, doc: "Longest text in tokens; what is over is cut off." }),
  columns,
  ...clozeOptions,
  batchSize: integer({ default: 8, min: 1, doc: "Texts of one pass." }),
  arithmetic,
  ...quantisationOptions,
};

function wrongTask(base: PretrainedModel, name: string): ConfigError {
  return new ConfigError({
    code: "task_mismatch",
    summary: `${base.name} is made for ${base.taskType}, which predicts no labels.`,
    fixes: [
      base instanceof LanguageModel
        ? `peft generate ${name} "a prompt"`
        : "give an adapter of a classifier: --adapter out",
      ...(takesCloze(base.taskType)
        ? ['make labels words: --template "{text} It was {mask}" --verbalizer words.json']
        : []),
    ],
    fields: { model: base.name, task: base.taskType },
  });
}

/** `peft predict`: labels, numbers, tags or answers for texts; or measures on rows with labels. */
export const predict = defineCommand({
  name: "predict",
  summary: "Labels texts with a classifier, or measures it on rows with labels.",
  args: [
    { name: "<model>", doc: "Model folder or Hub id." },
    { name: "[texts...]", doc: "Texts to label." },
  ],
  options,
  examples: [
    'peft predict minilm "The best coffee I ever had" --adapter out',
    "peft predict minilm --adapter out --dataset test.jsonl",
    'peft predict bert "Never again." --template "{text} It was {mask}." --verbalizer words.json',
  ],
  async run({ args, flags, terminal, signal }) {
    const settings = readOptions(options, flags, {
      source: "The command line",
      spelling: "kebab-case",
      fix: "peft predict --help",
    });
    const [name = "", ...texts] = args;
    if (texts.length === 0 && settings.dataset === undefined) {
      throw new ConfigError({
        code: "option_missing",
        summary: "There is nothing to predict: neither a text nor --dataset was given.",
        fixes: [`peft predict ${name} "a text"`, `peft predict ${name} --dataset test.jsonl`],
      });
    }
    const cloze = await givenCloze(flags);
    const { base } = await openModel(name, settings.adapter, {
      ...pickQuantisation(settings),
      arithmetic: settings.arithmetic as Arithmetic,
      terminal,
      signal,
      cloze,
    });
    try {
      const { tokenizer } = base;
      if (!isLabelling(base)) throw wrongTask(base, name);
      if (tokenizer === undefined) {
        throw new ConfigError({
          code: "tokenizer_missing",
          summary: `${base.name} holds no tokenizer, so it cannot be given texts.`,
          fixes: ["put tokenizer.json and tokenizer_config.json beside the weights"],
          fields: { model: base.name },
        });
      }
      const { question, dataset: file, columns: named, taskId } = settings;
      const maxLength = Math.min(settings.maxLength, base.contextLength);
      const tasks = await tasksOf(base, settings.adapter);
      // Rows of a data set say their tasks themselves.
      const taskIds = texts.length > 0 || taskId !== undefined ? askedTasks(taskId, tasks, 1) : undefined;
      for (const text of texts) {
        const said = await predictText(base, tokenizer, text, { question, maxLength, taskIds });
        terminal.line(texts.length === 1 ? said : `${said}  ${text}`);
      }
      if (file !== undefined) {
        const rows = await readRows(dataPath(file));
        const asked = taskIds === undefined ? rows : rows.map((row) => withTask(row, taskIds[0]!, named));
        const dataset = labelledDataset(base, tokenizer, asked, { maxLength, columns: named, tasks });
        const { loss, metrics } = await evaluate(base, dataset, settings.batchSize);
        terminal.line(`rows ${dataset.length}  loss ${loss.toFixed(4)}`);
        for (const [measure, value] of Object.entries(metrics))
          terminal.line(`${measure.padEnd(16)} ${value.toFixed(4)}`);
      }
      return 0;
    } finally {
      await base.close();
    }
  },
});
