import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import {
  AutoModel,
  AutoModelForSequenceClassification,
  AutoModelForTokenClassification,
  getPeftModel,
} from "../src/index.js";
import { expectClose } from "./support/close.js";
import { commandLine } from "./support/command-line.js";
import { fixturesFolder } from "./support/fixture.js";
import { tinyTokenizerFiles } from "./support/tiny-tokenizer.js";

const { folder, at, clean, peft, line } = commandLine("classification");

const write = (name: string, rows: readonly object[]): void =>
  writeFileSync(at(name), rows.map((row) => `${JSON.stringify(row)}\n`).join(""));

const COMMON = "--learning-rate 2e-2 --batch-size 4 --lora-alpha 8";

beforeAll(async () => {
  const model = await AutoModel.fromConfig(
    {
      model_type: "bert",
      vocab_size: 259,
      hidden_size: 16,
      num_hidden_layers: 2,
      num_attention_heads: 2,
      intermediate_size: 32,
      max_position_embeddings: 64,
      initializer_range: 0.2,
    },
    { seed: 1 },
  );
  await model.savePretrained(at("bert"));
  await model.close();
  const files = tinyTokenizerFiles({ template: false });
  writeFileSync(at("bert/tokenizer.json"), JSON.stringify(files.tokenizer));
  writeFileSync(at("bert/tokenizer_config.json"), JSON.stringify(files.config));
  const words = ["aa", "ab", "ba", "bb"];
  write(
    "reviews.jsonl",
    words.flatMap((word) =>
      words.map((other) => ({ text: `${word}${other}`, label: word[0] === "a" ? "good" : "bad" })),
    ),
  );
  write(
    "tags.jsonl",
    words.map((word) => ({ tokens: [word, "x"], tags: [word[0] === "a" ? "B-A" : "B-B", "O"] })),
  );
  write(
    "questions.jsonl",
    words.map((word) => ({
      question: "?",
      context: `x ${word} x`,
      answers: { text: [word], answer_start: [2] },
    })),
  );
  mkdirSync(at("empty"));
}, 60_000);
afterAll(() => rmSync(folder, { recursive: true }));

test("a classifier of texts: train, measure, predict, merge", () => {
  const { code, out, err } = line(
    `train --task seq-cls --model bert --dataset reviews.jsonl --eval-dataset reviews.jsonl --output-dir out --epochs 12 ${COMMON}`,
  );
  expect(code, err).toBe(0);
  expect(out).toContain("labels: bad, good");
  expect(err).toContain("accuracy 1.0000");
  expect(JSON.parse(readFileSync(at("out/labels.json"), "utf8"))).toEqual({
    id2label: { 0: "bad", 1: "good" },
    problem_type: "single_label_classification",
  });
  const config = JSON.parse(readFileSync(at("out/adapter_config.json"), "utf8")) as Record<string, unknown>;
  expect(config).toMatchObject({ task_type: "SEQ_CLS", modules_to_save: ["classifier"] });
  const said = peft("predict", "bert", "aaaa", "bbbb", "--adapter", "out").out;
  expect(said.replaceAll(/\d+\.\d %/g, "N %")).toBe("good  N %  aaaa\nbad  N %  bbbb\n");
  expect(peft("predict", "bert", "--adapter", "out", "--dataset", "reviews.jsonl").out).toContain(
    "matthews         1.0000",
  );
  expect(peft("merge", "bert", "out", "--output-dir", "merged").code).toBe(0);
  expect(peft("predict", "merged", "aaaa", "bbbb").out).toBe(said);
}, 120_000);

test("tags of words, and answers to questions", () => {
  const tags = line(
    `train --task token-cls --model bert --dataset tags.jsonl --eval-dataset tags.jsonl --output-dir tags --epochs 40 ${COMMON}`,
  );
  expect(tags.code, tags.err).toBe(0);
  expect(tags.err).toContain("spanF1 1.0000");
  expect(peft("predict", "bert", "aa x", "bb x", "--adapter", "tags").out).toMatch(/^a\/B-A .*\nb\/B-B /);
  const questions = line(
    `train --task question-ans --model bert --dataset questions.jsonl --eval-dataset questions.jsonl --output-dir answers --epochs 40 ${COMMON}`,
  );
  expect(questions.code, questions.err).toBe(0);
  expect(questions.err).toContain("exactMatch 1.0000");
  expect(peft("predict", "bert", "x ab x", "--question", "?", "--adapter", "answers").out.trim()).toBe("ab");
}, 120_000);

test("mistakes", () => {
  write("same.jsonl", [
    { text: "a", label: "x" },
    { text: "b", label: "x" },
  ]);
  const mistake = (...args: string[]): string => {
    const { code, err } = peft(...args);
    expect(code, err).toBe(2);
    return err;
  };
  expect(mistake("train", "--task", "seq-cls", "--model", "bert", "--dataset", "same.jsonl"))
    .toMatchInlineSnapshot(`
    "All rows have the same label, x: there is nothing to tell apart.
    "
  `);
  expect(mistake("train", "--model", "bert", "--dataset", "reviews.jsonl")).toMatchInlineSnapshot(`
    "BERT has no head for CAUSAL_LM.
      heads  MASKED_LM, SEQ_CLS, TOKEN_CLS, QUESTION_ANS, FEATURE_EXTRACTION
    fix: choose one of its heads, such as AutoModelForSequenceClassification   (--task seq-cls)
    "
  `);
  expect(mistake("train", "--task", "seqcls", "--model", "bert", "--dataset", "reviews.jsonl"))
    .toMatchInlineSnapshot(`
      "The command line has an option that cannot be used.
        --task  "seqcls" is not one of causal-lm, seq2seq-lm, seq-cls, token-cls, question-ans, cloze
      fix: --task causal-lm
       or: peft train --help lists all settings; nothing was run
      "
    `);
  expect(mistake("generate", "bert", "hello")).toMatchInlineSnapshot(`
    "bert is made for FEATURE_EXTRACTION and writes no text.
    fix: train a classifier on it: peft train --task seq-cls --model bert --dataset train.jsonl
    "
  `);
  expect(mistake("predict", "bert", "hello")).toMatchInlineSnapshot(`
    "bert is made for FEATURE_EXTRACTION, which predicts no labels.
    fix: give an adapter of a classifier: --adapter out
    "
  `);
  expect(mistake("predict", "bert")).toMatchInlineSnapshot(`
    "There is nothing to predict: neither a text nor --dataset was given.
    fix: peft predict bert "a text"
     or: peft predict bert --dataset test.jsonl
    "
  `);
  expect(existsSync(at("out/adapter_model.safetensors.partial"))).toBe(false);
}, 60_000);

test("bodies are loaded with any head, and heads are left off", async () => {
  const saved = join(fixturesFolder, "tasks/bert-token/model");
  const batch = { inputIds: [[5, 6, 7]] };
  await using body = await AutoModel.fromPretrained(saved, { onWarning: () => undefined });
  const before = (await body.forward(batch)).lastHiddenState.data;
  await body.savePretrained(at("body"));
  const warnings: string[] = [];
  const onWarning = (text: string) => warnings.push(clean(text));
  await using tagger = await AutoModelForTokenClassification.fromPretrained(at("body"), {
    onWarning,
    numLabels: 4,
  });
  expect(warnings).toMatchInlineSnapshot(`
    [
      "DIR/body: 2 tensors are not in the file and start at random (seed 0), so they have to be trained: classifier.weight, classifier.bias",
      "DIR/body: 2 tensors of the file are not used by BERT: pooler.dense.weight, pooler.dense.bias",
    ]
  `);
  expect((await tagger.forward(batch)).logits.dims).toEqual([1, 3, 4]);
  await tagger.savePretrained(at("tagger"));
  await using again = await AutoModel.fromPretrained(at("tagger"), { onWarning: () => undefined });
  expectClose("hidden states", (await again.forward(batch)).lastHiddenState.data, before, { absolute: 1e-6 });
  await using first = await AutoModelForSequenceClassification.fromPretrained(at("body"), {
    onWarning,
    seed: 5,
  });
  await using second = await AutoModelForSequenceClassification.fromPretrained(at("body"), {
    onWarning,
    seed: 5,
  });
  expect((await first.forward(batch)).logits.data).toEqual((await second.forward(batch)).logits.data);
});

test("embeddings: mean, first and last, of padded rows", async () => {
  const saved = join(fixturesFolder, "tasks/bert-features/model");
  await using model = await AutoModel.fromPretrained(saved);
  const batch = {
    inputIds: [
      [0, 5, 6],
      [7, 8, 9],
    ],
    attentionMask: [
      [0, 1, 1],
      [1, 1, 1],
    ],
  };
  const { data } = (await model.forward(batch)).lastHiddenState;
  const row = (token: number): number[] => [...data.subarray(token * 16, (token + 1) * 16)];
  const first = (values: Float32Array): Float32Array => values.subarray(0, 16);
  expectClose("cls", first((await model.embed(batch, { pooling: "cls" })).data), row(1));
  expectClose("last", first((await model.embed(batch, { pooling: "last" })).data), row(2));
  const mean = row(1).map((value, i) => (value + row(2)[i]!) / 2);
  expectClose("mean", first((await model.embed(batch)).data), mean);
  const { data: unit } = await model.embed(batch, { normalize: true });
  expect(first(unit).reduce((sum, value) => sum + value * value, 0)).toBeCloseTo(1, 5);
});

test("labels that do not fit", async () => {
  const saved = join(fixturesFolder, "tasks/bert-sequence/model");
  const options = { onWarning: () => undefined };
  await using model = await AutoModelForSequenceClassification.fromPretrained(saved, options);
  const inputIds = [
    [5, 6],
    [7, 8],
  ];
  await expect(model.forward({ inputIds, labels: [0, 3] })).rejects.toThrowErrorMatchingInlineSnapshot(
    `[ShapeError: labels: row 1 is 3; the model has classes 0 to 2.]`,
  );
  await expect(model.forward({ inputIds, labels: [0] })).rejects.toThrowErrorMatchingInlineSnapshot(
    `[ShapeError: labels has 1 entries; the batch has 2 rows.]`,
  );
  await expect(
    AutoModelForSequenceClassification.fromPretrained(saved, {
      ...options,
      numLabels: 2,
      id2label: ["a", "b", "c"],
    }),
  ).rejects.toThrowErrorMatchingInlineSnapshot(`
    [ConfigError: id2label names 3 labels; numLabels is 2.
    fix: number the labels from 0 without a gap, and leave numLabels out]
  `);
  await expect(
    AutoModelForSequenceClassification.fromPretrained(saved, { ...options, id2label: { 0: "a", 2: "b" } }),
  ).rejects.toThrowErrorMatchingInlineSnapshot(`
    [ConfigError: id2label names 2 labels and has none with the number 1.
    fix: number the labels from 0 without a gap, and leave numLabels out]
  `);
  await expect(
    AutoModelForSequenceClassification.fromPretrained(saved, { ...options, numLabels: 5 }),
  ).rejects.toThrow("classifier.weight");
  const adapted = await getPeftModel(model, { peftType: "LORA", r: 2 });
  expect(adapted.trainableParameters().map(({ name }) => name)).toContain(
    "base_model.model.classifier.modules_to_save.default.weight",
  );
});
