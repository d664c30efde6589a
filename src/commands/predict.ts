import { likeliest } from "../auto/answers.js";
import type { PretrainedModel } from "../auto/pretrained-model.js";
import { pickQuantisation, quantisationOptions } from "../auto/quantisation-options.js";
import { bestSpan, QuestionAnswerer } from "../auto/question-answerer.js";
import { SequenceClassifier } from "../auto/sequence-classifier.js";
import { TokenClassifier } from "../auto/token-classifier.js";
import { ConfigError } from "../base/errors.js";
import { integer, optionalText } from "../base/option.js";
import { readOptions } from "../base/read-options.js";
import { dataPath } from "../cli/embedded.js";
import { arithmetic } from "../cli/arithmetic.js";
import type { Arithmetic } from "../nn/runner.js";
import { openModel, useCommand } from "../cli/open-model.js";
import { readRows } from "../files/data-file.js";
import { frame } from "../text/encode-task.js";
import { encodeTaskDataset } from "../text/task-dataset.js";
import type { Tokenizer } from "../text/tokenizer.js";
import { evaluate } from "../train/train.js";
import { defineCommand } from "./command.js";

const options = {
  adapter: optionalText({ doc: "Adapter folder to use with the model.", placeholder: "<folder>" }),
  dataset: optionalText({ doc: "Rows with labels, to measure the model on.", placeholder: "<file>" }),
  question: optionalText({ doc: "What is asked of each text, for models that find answers." }),
  maxLength: integer({ default: 512, min: 2, doc: "Longest text in tokens; what is over is cut off." }),
  batchSize: integer({ default: 8, min: 1, doc: "Texts of one pass." }),
  arithmetic,
  ...quantisationOptions,
};

type Tokens = Parameters<SequenceClassifier["forward"]>[0];

/** A text, or a question and a text, as a batch of one. */
function encode(
  tokenizer: Tokenizer,
  texts: readonly string[],
  maxLength: number,
): Tokens & { start: number } {
  const pieces = texts.map((text) => tokenizer.encode(text, { addSpecialTokens: false }));
  const { inputIds, tokenTypeIds, starts } = frame(
    tokenizer,
    pieces,
    texts,
    maxLength,
    texts.length > 1 ? 1 : undefined,
  );
  return { inputIds: [inputIds], tokenTypeIds: [tokenTypeIds], start: starts[texts.length - 1]! };
}

const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;

function softmax(scores: readonly number[]): number[] {
  const top = Math.max(...scores);
  const shares = scores.map((score) => Math.exp(score - top));
  const total = shares.reduce((sum, value) => sum + value, 0);
  return shares.map((value) => value / total);
}

/** What a classifier says of a text. */
async function classify(model: SequenceClassifier, tokens: Tokens): Promise<string> {
  const scores = [...(await model.forward(tokens)).logits.data];
  const { labels, problemType } = model;
  if (problemType === "regression" || scores.length === 1)
    return scores.map((score) => score.toFixed(4)).join("  ");
  if (problemType === "multi_label_classification") {
    const chosen = scores.flatMap((score, i) =>
      score > 0 ? [`${labels[i]} ${percent(1 / (1 + Math.exp(-score)))}`] : [],
    );
    return chosen.join(", ") || "none";
  }
  const best = likeliest(scores, 0, scores.length);
  return `${labels[best]}  ${percent(softmax(scores)[best]!)}`;
}

/** The tags of the tokens of a text. */
async function tag(model: TokenClassifier, tokenizer: Tokenizer, tokens: Tokens): Promise<string> {
  const { data, dims } = (await model.forward({ ...tokens, labels: undefined })).logits;
  const width = dims[2]!;
  return [...Array.from(tokens.inputIds[0]!).entries()]
    .map(([i, id]) => `${tokenizer.tokenOf(id)}/${model.labels[likeliest(data, i * width, width)]}`)
    .join(" ");
}

/** The answer that a text holds. */
async function answer(
  model: QuestionAnswerer,
  tokenizer: Tokenizer,
  tokens: Tokens & { start: number },
): Promise<string> {
  const { startLogits, endLogits } = await model.forward({
    inputIds: tokens.inputIds,
    tokenTypeIds: tokens.tokenTypeIds,
  });
  const ids = Array.from(tokens.inputIds[0]!);
  const pairs = ids.flatMap((_, i) => [startLogits.data[i]!, endLogits.data[i]!]);
  const [from, to] = bestSpan(pairs, tokens.start, ids.length);
  return tokenizer.decode(ids.slice(from, to + 1));
}

function wrongTask(base: PretrainedModel, name: string): ConfigError {
  return new ConfigError({
    code: "task_mismatch",
    summary: `${base.name} is made for ${base.taskType}, which predicts no labels.`,
    fixes: [
      useCommand(base.taskType) === "generate"
        ? `peft generate ${name} "a prompt"`
        : "give an adapter of a classifier: --adapter out",
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
    const { base } = await openModel(name, settings.adapter, {
      ...pickQuantisation(settings),
      arithmetic: settings.arithmetic as Arithmetic,
      terminal,
      signal,
    });
    try {
      const { tokenizer } = base;
      const known =
        base instanceof SequenceClassifier ||
        base instanceof TokenClassifier ||
        base instanceof QuestionAnswerer;
      if (!known) throw wrongTask(base, name);
      if (tokenizer === undefined) {
        throw new ConfigError({
          code: "tokenizer_missing",
          summary: `${base.name} holds no tokenizer, so it cannot be given texts.`,
          fixes: ["put tokenizer.json and tokenizer_config.json beside the weights"],
          fields: { model: base.name },
        });
      }
      const maxLength = Math.min(settings.maxLength, base.contextLength);
      for (const text of texts) {
        if (base instanceof QuestionAnswerer) {
          if (settings.question === undefined) {
            throw new ConfigError({
              code: "option_missing",
              summary: `${base.name} finds answers, and no question was given.`,
              fixes: ['--question "Who wrote it?"'],
            });
          }
          terminal.line(
            await answer(base, tokenizer, encode(tokenizer, [settings.question, text], maxLength)),
          );
          continue;
        }
        const tokens = encode(tokenizer, [text], maxLength);
        const said =
          base instanceof SequenceClassifier
            ? await classify(base, tokens)
            : await tag(base, tokenizer, tokens);
        terminal.line(texts.length === 1 ? said : `${said}  ${text}`);
      }
      if (settings.dataset !== undefined) {
        const regression = base instanceof SequenceClassifier && base.labels.length === 1;
        const several =
          base instanceof SequenceClassifier && base.problemType === "multi_label_classification";
        const kind = regression
          ? "regression"
          : several
            ? "multi_label_classification"
            : "single_label_classification";
        const dataset = encodeTaskDataset(await readRows(dataPath(settings.dataset)), tokenizer, {
          task: base.taskType,
          labels: { kind, names: base.labels },
          maxLength,
        });
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
