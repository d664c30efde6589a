import { expect, test } from "vitest";
import { tinyTokenizerFiles } from "../../test/support/tiny-tokenizer.js";
import { findLabels } from "./label-set.js";
import type { Row } from "./rows.js";
import { encodeTaskDataset } from "./task-dataset.js";
import { readTaskExamples } from "./task-rows.js";
import { tokenizerFromFiles } from "./tokenizer.js";

const { tokenizer: plain, config } = tinyTokenizerFiles();
// Begins texts with <|endoftext|> and ends each part with <|im_end|>, as BERT does with [CLS] and [SEP].
const template = (id: string, type: number) => ({ SpecialToken: { id, type_id: type } });
const sequence = (id: string, type: number) => ({ Sequence: { id, type_id: type } });
const tokenizer = tokenizerFromFiles({
  tokenizer: {
    ...plain,
    post_processor: {
      type: "TemplateProcessing",
      single: [template("<|endoftext|>", 0), sequence("A", 0), template("<|im_end|>", 0)],
      pair: [
        template("<|endoftext|>", 0),
        sequence("A", 0),
        template("<|im_end|>", 0),
        sequence("B", 1),
        template("<|im_end|>", 1),
      ],
      special_tokens: {
        "<|endoftext|>": { id: "<|endoftext|>", ids: [0], tokens: ["<|endoftext|>"] },
        "<|im_end|>": { id: "<|im_end|>", ids: [2], tokens: ["<|im_end|>"] },
      },
    },
  },
  config,
});

const rows = (...values: Record<string, unknown>[]): Row[] =>
  values.map((value, i) => ({ source: `rows.jsonl:${i + 1}`, value }));
const text = (work: () => unknown): string => {
  try {
    work();
  } catch (error) {
    return String((error as Error).message);
  }
  return "no error";
};
const show = (ids: readonly number[]): string => tokenizer.decode([...ids], { skipSpecialTokens: false });

test("labels are names, numbers, several at once, or what is to be predicted", () => {
  const labels = (...list: unknown[]) =>
    findLabels(readTaskExamples("SEQ_CLS", rows(...list.map((label) => ({ text: "x", label })))));
  expect(labels("b", "a", "b")).toEqual({ kind: "single_label_classification", names: ["a", "b"] });
  expect(labels("0", "2", 1)).toEqual({
    kind: "single_label_classification",
    names: ["LABEL_0", "LABEL_1", "LABEL_2"],
  });
  expect(labels(true, false).names).toEqual(["false", "true"]);
  expect(labels("0.5", 2)).toEqual({ kind: "regression", names: [] });
  expect(labels(["a"], [], ["c", "a"])).toEqual({ kind: "multi_label_classification", names: ["a", "c"] });
  expect(text(() => labels("a", 1))).toMatchInlineSnapshot(`
    "The labels of rows.jsonl:1 are of several kinds: 1 stands among names.
    fix: use names for all labels, or numbers from 0 for all"
  `);
});

test("pairs are cut at the longer text, special tokens stay", () => {
  const data = encodeTaskDataset(
    rows({ sentence1: "abcdef", sentence2: "xyz", label: 1 }, { sentence1: "a", sentence2: "b", label: 0 }),
    tokenizer,
    { task: "SEQ_CLS", maxLength: 8 },
  );
  const [first, second] = data.examples;
  expect(show(first!.inputIds)).toBe("<|endoftext|>abc<|im_end|>xy<|im_end|>");
  expect(first!.tokenTypeIds).toEqual([0, 0, 0, 0, 0, 1, 1, 1]);
  expect(first!.truncated).toBe(4);
  expect(show(second!.inputIds)).toBe("<|endoftext|>a<|im_end|>b<|im_end|>");
  expect(data.collate(data.examples)).toMatchObject({ labels: [1, 0] });
});

test("several labels become zeros and ones, numbers stay numbers", () => {
  const several = encodeTaskDataset(
    rows({ text: "x", labels: ["c", "a"] }, { text: "y", labels: ["b"] }),
    tokenizer,
    { task: "SEQ_CLS" },
  );
  expect(several.collate(several.examples).labels).toEqual([
    [1, 0, 1],
    [0, 1, 0],
  ]);
  const numbers = encodeTaskDataset(rows({ text: "x", label: -1.5 }), tokenizer, { task: "SEQ_CLS" });
  expect(numbers.collate(numbers.examples).labels).toEqual([-1.5]);
});

test("the first token of a word carries its tag", () => {
  const data = encodeTaskDataset(
    rows({ tokens: ["ab", "c"], ner_tags: ["B-X", "O"] }, { tokens: ["d"], tags: ["O"] }),
    tokenizer,
    { task: "TOKEN_CLS" },
  );
  const [first] = data.examples;
  expect(show(first!.inputIds)).toBe("<|endoftext|>ab c<|im_end|>");
  expect(first!.labels).toEqual([-100, 0, -100, 1, -100, -100]);
  expect(first!.trained).toBe(2);
});

test("answers are found among the tokens; those that were cut off do not count", () => {
  const row = { question: "who", context: "it was bob ok", answers: { text: ["bob"], answer_start: [7] } };
  const [whole] = encodeTaskDataset(rows(row), tokenizer, { task: "QUESTION_ANS" }).examples;
  const [start, end] = whole!.labels as [number, number];
  expect(show(whole!.inputIds.slice(start, end + 1)).trim()).toBe("bob");
  expect(text(() => encodeTaskDataset(rows(row), tokenizer, { task: "QUESTION_ANS", maxLength: 10 })))
    .toMatchInlineSnapshot(`
    "None of the 1 rows has a label left to learn.
      maxLength  10 tokens
    fix: raise maxLength   (--max-length)"
  `);
});

test("mistakes in rows", () => {
  const read = (task: "SEQ_CLS" | "TOKEN_CLS" | "QUESTION_ANS", ...values: Record<string, unknown>[]) =>
    text(() => readTaskExamples(task, rows(...values)));
  expect(read("SEQ_CLS", { text: "a" }, { txt: "a", label: 1 }, { text: " ", label: 1 }))
    .toMatchInlineSnapshot(`
    "3 of 3 rows cannot be trained on for SEQ_CLS.
      rows   rows.jsonl:1: it has no label
             rows.jsonl:2: its keys are txt, label
             rows.jsonl:3: its text is empty or no text
      shape  text or sentence (+ text_pair), or sentence1 + sentence2, premise + hypothesis …; label or labels
    fix: rename columns: --columns text=review,label=score"
  `);
  expect(read("TOKEN_CLS", { tokens: ["a", "b"], tags: ["O"] }, { tokens: "a b", tags: [] }))
    .toMatchInlineSnapshot(`
    "2 of 2 rows cannot be trained on for TOKEN_CLS.
      rows   rows.jsonl:1: it has 2 tokens and 1 tags
             rows.jsonl:2: its tokens are no list of words
      shape  tokens (a list of words) and tags, ner_tags or labels (one for each word)
    fix: rename columns: --columns tokens=words,tags=pos"
  `);
  expect(read("QUESTION_ANS", { question: "q", context: "c d", answer: "d", answer_start: 0 }))
    .toMatchInlineSnapshot(`
    "1 of 1 rows cannot be trained on for QUESTION_ANS.
      rows   rows.jsonl:1: its answer is not at answer_start of its context
      shape  question, context, and answers { text: [..], answer_start: [..] } or answer + answer_start
    fix: rename columns: --columns context=passage"
  `);
  const labels = { kind: "single_label_classification", names: ["great", "other"] } as const;
  expect(
    text(() =>
      encodeTaskDataset(rows({ text: "a", label: "graet" }), tokenizer, { task: "SEQ_CLS", labels }),
    ),
  ).toMatchInlineSnapshot(`
    "rows.jsonl:1: the label "graet" is none of the 2 labels of the model.
      nearest  great
      labels   great, other
    fix: mend the row, or train with rows that have every label"
  `);
});
