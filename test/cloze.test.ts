import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { afterAll, beforeAll, expect, test } from "vitest";
import { AutoModel, AutoModelForCausalLM, AutoModelForMaskedLM } from "../src/index.js";
import { tokenizerFromFiles } from "../src/text/tokenizer.js";
import { commandLine } from "./support/command-line.js";
import { byteLevelFiles, wordPieceFiles } from "./support/word-tokenizers.js";

const { folder, at, clean, peft } = commandLine("cloze");

const write = (name: string, rows: readonly object[]): void =>
  writeFileSync(at(name), rows.map((row) => `${JSON.stringify(row)}\n`).join(""));

const WORDS = { great: "great", other: ["terrible", "bad"] };
const COMMON = ["--batch-size", "4", "--eval-dataset", "reviews.jsonl"];
const MASKED = ["--template", "{text} it was {mask}.", "--verbalizer", JSON.stringify(WORDS)];
const CAUSAL = ["--template", "{text}\\nMood:", "--verbalizer", "words.json"];
const SIZES = {
  num_hidden_layers: 2,
  num_attention_heads: 2,
  max_position_embeddings: 64,
  initializer_range: 0.2,
};

function writeTokenizer(model: string, files: ReturnType<typeof wordPieceFiles>): number {
  writeFileSync(at(model, "tokenizer.json"), JSON.stringify(files.tokenizer));
  writeFileSync(at(model, "tokenizer_config.json"), JSON.stringify(files.config));
  return tokenizerFromFiles(files).vocabularySize;
}

beforeAll(async () => {
  const pieces = wordPieceFiles(["it", "was", "great", "bad", "terrible"]);
  const bytes = byteLevelFiles([" great", " bad"]);
  const size = (files: typeof pieces): number => tokenizerFromFiles(files).vocabularySize;
  const widths = { hidden_size: 16, intermediate_size: 32, ...SIZES };
  const bert = { model_type: "bert", vocab_size: size(pieces), ...widths };
  for (const [name, auto] of [
    ["bert", AutoModelForMaskedLM],
    ["body", AutoModel],
  ] as const) {
    await using model = await auto.fromConfig(bert, { seed: 1 });
    await model.savePretrained(at(name));
  }
  await using llama = await AutoModelForCausalLM.fromConfig(
    { model_type: "llama", vocab_size: size(bytes), ...widths },
    { seed: 1 },
  );
  await llama.savePretrained(at("llama"));
  for (const name of ["bert", "body"]) writeTokenizer(name, pieces);
  writeTokenizer("llama", bytes);
  writeFileSync(at("words.json"), JSON.stringify(WORDS));
  const runs = [1, 2, 3, 4, 5, 6, 7, 8];
  write("reviews.jsonl", [
    ...runs.map((length) => ({ text: "a".repeat(length), label: "great" })),
    ...runs.map((length) => ({ text: "b".repeat(length), label: "other" })),
  ]);
}, 60_000);
afterAll(() => rmSync(folder, { recursive: true }));

test.each([
  ["bert", "LORA", [...MASKED, "--learning-rate", "1e-2", "--target-modules", "all-linear"], 15],
  [
    "llama",
    "LORA",
    [...CAUSAL, "--target-modules", "all-linear", "--learning-rate", "3e-2", "--length-normalization"],
    20,
  ],
  ["bert", "PROMPT_TUNING", [...MASKED, "--learning-rate", "2e-2"], 30],
] as const)(
  "%s, %s: train, measure, predict",
  (model, peftType, cloze, epochs) => {
    const out = `${model}-${peftType}`;
    const {
      code,
      out: said,
      err,
    } = peft(
      "train",
      ...`--task cloze --model ${model} --dataset reviews.jsonl --output-dir ${out}`.split(" "),
      ...`--peft-type ${peftType} --epochs ${epochs}`.split(" "),
      ...COMMON,
      ...cloze,
    );
    expect(code, err).toBe(0);
    expect(said).toContain("labels: great, other");
    expect(said).toContain(`peft predict ${model} --adapter ${out}`);
    if (peftType === "LORA") expect(err).toContain("accuracy 1.0000");
    expect(JSON.parse(readFileSync(at(out, "cloze.json"), "utf8"))).toEqual({
      template: model === "bert" ? MASKED[1] : "{text}\nMood:",
      verbalizer: WORDS,
      combine_words: "mean",
      length_normalization: model === "llama",
    });
    const measured = peft("predict", model, "--adapter", out, "--dataset", "reviews.jsonl");
    expect(measured.out, measured.err).toMatch(/rows 16 {2}loss \d\.\d{4}\naccuracy /);
    if (peftType !== "LORA") return;
    expect(measured.out).toContain("accuracy         1.0000");
    const answers = peft("predict", model, "aaaa", "bbbb", "--adapter", out);
    expect(answers.out.replaceAll(/\d+\.\d %/g, "N %")).toBe("great  N %  aaaa\nother  N %  bbbb\n");
    expect(peft("merge", model, out, "--output-dir", `${out}-merged`).out).toContain("peft predict");
    expect(peft("predict", `${out}-merged`, "aaaa", "bbbb").out).toBe(answers.out);
    expect(peft("inspect", out).out).toContain("template           ");
  },
  120_000,
);

test("without any training, and with words of an adapter for another template", () => {
  const zero = peft("predict", "bert", "aa", ...MASKED);
  expect(zero.code, zero.err).toBe(0);
  expect(zero.out).toMatch(/^(great|other) {2}\d+\.\d %\n$/);
  const measured = peft(
    "predict",
    "llama",
    "--dataset",
    "reviews.jsonl",
    ...CAUSAL,
    "--combine-words",
    "sum",
  );
  expect(measured.out, measured.err).toContain("matthews");
  const other = peft(
    "predict",
    "bert",
    "aa",
    "--adapter",
    "bert-LORA",
    "--template",
    "it was {mask}: {text}",
  );
  expect(other.out, other.err).toMatch(/ %\n$/);
  const text = peft("generate", "llama", "aa", "--adapter", "llama-LORA", "--max-new-tokens", "2");
  expect(text.code, text.err).toBe(0);
}, 60_000);

test("a run file holds template and words", () => {
  writeFileSync(
    at("run.yaml"),
    'task: cloze\nmodel: bert\ndataset: reviews.jsonl\ntemplate: "{text} it was {mask}."\nverbalizer:\n  great: great\n  other: [terrible, bad]\nmax_steps: 1\n',
  );
  const { code, out, err } = peft("train", "run.yaml", "--output-dir", "from-file");
  expect(code, err).toBe(0);
  expect(out).toContain("labels: great, other");
}, 60_000);

test("mistakes are said before any weight is read, all at once", () => {
  const mistake = (...args: string[]): string => {
    const { code, err } = peft(...args);
    expect(code, err).toBe(2);
    return clean(err);
  };
  const train = ["train", "--model", "bert", "--dataset", "reviews.jsonl"];
  expect(
    mistake(
      ...train,
      "--task",
      "cloze",
      "--template",
      "{txt} it was",
      "--verbalizer",
      '{"great": "greatest"}',
    ),
  ).toMatchInlineSnapshot(`
    "The cloze has 5 faults.
      template    has no {mask}, so there is no word to be found
      template    shows {txt}, which is a column of no row; nearest: text
      verbalizer  "greatest" of "great" is 4 tokens, great ##e ##s ##t, and one mask stands for one
      verbalizer  has one class, and at least two can be told apart
      verbalizer  has no word for the label "other" of reviews.jsonl:9 and 7 more; it has great
    fix: template: "{text} It was {mask}."
     or: write {text}
     or: choose words that are one token, or a causal model, which takes several
    "
  `);
  expect(mistake(...train, "--task", "cloze")).toMatchInlineSnapshot(`
    "The cloze has 2 faults.
      template    is empty
      verbalizer  has no class, and at least two can be told apart
    fix: template: "{text} It was {mask}."
     or: { "great": "great", "other": "bad" }
    "
  `);
  expect(mistake(...train, "--task", "seq-cls", ...MASKED)).toMatchInlineSnapshot(`
    "--template, --verbalizer have no effect with the task seq-cls.
    fix: --task cloze
     or: leave them out
    "
  `);
  expect(mistake(...train, "--task", "cloze", "--template", "{text} {mask}", "--verbalizer", "none.json"))
    .toMatchInlineSnapshot(`
    "verbalizer: none.json is neither words as JSON nor a file that can be read.
    fix: --verbalizer '{"great":"great","other":["terrible","bad"]}'
    "
  `);
  expect(mistake(...train, "--task", "cloze", "--template", "{text} {mask}", "--verbalizer", '{"a": 1}'))
    .toMatchInlineSnapshot(`
    "The command line has an option that cannot be used.
      --verbalizer  {"a":1} (at a) is not a word or a list of words for each class
    fix: --verbalizer '{"great":"great","other":["terrible","bad"]}'
     or: peft train --help lists all settings; nothing was run
    "
  `);
  expect(mistake(...train, "--task", "cloze", "--template", "{text} {mask}", "--verbalizer", '{"a": '))
    .toMatchInlineSnapshot(`
      "verbalizer: {"a":  is not JSON.
      fix: --verbalizer '{"great":"great","other":["terrible","bad"]}'
      "
    `);
  expect(mistake("train", "--model", "body", "--dataset", "reviews.jsonl", "--task", "cloze", ...MASKED))
    .toMatchInlineSnapshot(`
    "body holds no head of BertForMaskedLM, which is not trained anew.
      missing  cls.predictions.bias  (78)
               cls.predictions.transform.dense.weight  (16, 16)
               cls.predictions.transform.dense.bias  (16)
               cls.predictions.transform.LayerNorm.weight  (16)
               cls.predictions.transform.LayerNorm.bias  (16)
    fix: choose a checkpoint that was saved with it (architectures: BertForMaskedLM)
     or: train a new head of another task: peft train --task seq-cls
    "
  `);
  expect(mistake("predict", "llama", "aa")).toMatchInlineSnapshot(`
    "llama is made for CAUSAL_LM, which predicts no labels.
    fix: peft generate llama "a prompt"
     or: make labels words: --template "{text} It was {mask}" --verbalizer words.json
    "
  `);
  expect(mistake("predict", "bert", "aa", "--template", "{text} {mask} {other}", ...MASKED.slice(2)))
    .toMatchInlineSnapshot(`
    "The template shows 2 columns, text, other; a text alone is one.
    fix: give rows with all of them: --dataset test.jsonl
    "
  `);
}, 60_000);
