import { expect, test } from "vitest";
import { byteLevelFiles, wordPieceFiles } from "../../test/support/word-tokenizers.js";
import { type ClozeForm, makeCloze } from "./cloze.js";
import { encodeClozeDataset } from "./cloze-dataset.js";
import type { ClozeOptions } from "./cloze-options.js";
import { planWords } from "./cloze-plan.js";
import { parseTemplate } from "./cloze-template.js";
import { encodeCloze } from "./encode-cloze.js";
import type { Row } from "./rows.js";
import { tokenizerFromFiles } from "./tokenizer.js";

const WORDS = ["it", "was", "great", "good", "bad", "terrible", "food", "best", "worst", "the", "ever"];
const bert = tokenizerFromFiles(wordPieceFiles(WORDS));
const plain = tokenizerFromFiles(wordPieceFiles(WORDS, { mask: false }));
const roberta = tokenizerFromFiles(byteLevelFiles([" great", " bad", "great", " It"], { mask: true }));
const gpt2 = tokenizerFromFiles(byteLevelFiles([" great", " bad"]));

const usual: ClozeOptions = {
  template: "{text} It was {mask}.",
  verbalizer: { great: "great", other: ["terrible", "bad"] },
};
const rows = (...values: Record<string, unknown>[]): Row[] =>
  values.map((value, i) => ({ source: `train.jsonl:${i + 1}`, value }));
const fault = (options: Partial<ClozeOptions>, tokenizer = bert, form: ClozeForm = "mask"): string => {
  try {
    makeCloze({ ...usual, ...options }, tokenizer, form);
  } catch (error) {
    return (error as Error).message;
  }
  return "no fault";
};

test("templates: columns, masks, and braces themselves", () => {
  expect(parseTemplate("{{a}} {text}: [MASK]{mask}", "[MASK]")).toEqual({
    parts: [
      { kind: "text", text: "{a} " },
      { kind: "column", name: "text" },
      { kind: "text", text: ": " },
      { kind: "mask" },
      { kind: "mask" },
    ],
    faults: [],
  });
  expect(parseTemplate("{text} [MASK]", undefined).parts.at(-1)).toEqual({ kind: "text", text: " [MASK]" });
  expect(parseTemplate("{text {} }", undefined).faults).toHaveLength(3);
});

test("words are read where they stand: with the space that some tokenizers make a part of them", () => {
  const words = (options: Partial<ClozeOptions>, tokenizer = roberta, form: ClozeForm = "mask") =>
    makeCloze({ ...usual, ...options }, tokenizer, form).classes.map(({ words: [word] }) =>
      word!.ids.map((id) => tokenizer.tokenOf(id)).join("+"),
    );
  const verbalizer = { great: "great", other: "bad" };
  expect(words({ verbalizer })).toEqual(["Ġgreat", "Ġbad"]);
  expect(words({ verbalizer: { a: "great", b: "b" }, template: '{text} "{mask}"' })).toEqual(["great", "b"]);
  expect(words({ verbalizer }, bert)).toEqual(["great", "bad"]);
  expect(words({ verbalizer, template: "{text}\nMood:" }, gpt2, "completion")).toEqual(["Ġgreat", "Ġbad"]);
  expect(words({ verbalizer, template: "{text}\nMood: {mask}" }, gpt2, "completion")).toEqual([
    "Ġgreat",
    "Ġbad",
  ]);
  expect(words({ verbalizer, template: "{text}\nMood:\n" }, gpt2, "completion")).toEqual([
    "Ċ+g+r+e+a+t",
    "Ċ+b+a+d",
  ]);
});

test("rows that run: one where all words are one token, else as many as begin differently", () => {
  const plan = (...words: number[][]) =>
    planWords([{ label: "a", words: words.map((ids) => ({ text: "", ids })) }]);
  expect(plan([7], [8])).toEqual({
    continuations: [[]],
    reads: [{ continuation: 0, offset: 0 }],
    columns: [7, 8],
    classes: [[[{ read: 0, column: 0 }], [{ read: 0, column: 1 }]]],
  });
  const several = plan([7], [8, 9], [8, 9, 7], [7, 5]);
  expect(several.continuations).toEqual([[8, 9], [7]]);
  expect(several.reads).toEqual([
    { continuation: 0, offset: 0 },
    { continuation: 0, offset: 1 },
    { continuation: 0, offset: 2 },
    { continuation: 1, offset: 1 },
  ]);
  expect(several.classes[0]!.map((word) => word.map(({ read }) => read))).toEqual([
    [0],
    [0, 1],
    [0, 1, 2],
    [0, 3],
  ]);
});

test("texts are cut, longest first; never the template, the mask or half of a character", () => {
  const cloze = makeCloze({ ...usual, template: "{text} [SEP] {other} It was {mask}." }, bert, "mask");
  const values = (text: string, other: string) =>
    new Map([
      ["text", text],
      ["other", other],
    ]);
  const read = (text: string, other: string, most: number): string => {
    const { inputIds, maskAt, truncated } = encodeCloze(cloze, values(text, other), most);
    expect(inputIds.length).toBeLessThanOrEqual(most);
    expect(inputIds[maskAt!]).toBe(bert.maskTokenId);
    return `${inputIds.map((id) => bert.tokenOf(id)).join(" ")} | ${truncated}`;
  };
  expect(read("good food", "bad", 99)).toBe("[CLS] good food [SEP] bad it was [MASK] . [SEP] | 0");
  expect(read("good food ever the best food", "bad", 12)).toBe(
    "[CLS] good food ever the [SEP] bad it was [MASK] . [SEP] | 2",
  );
  expect(read("good good good good", "bad bad bad bad", 11)).toMatch(
    /^\[CLS\] good good \[SEP\] bad bad it was \[MASK\] \. \[SEP\]/,
  );
  const long = "the best food ever ".repeat(500);
  expect(read(long, "bad", 64).split(" | ")[0]!.split(" ")).toHaveLength(64);
  const bytes = makeCloze(
    { ...usual, template: "{text}\nMood:", verbalizer: { a: "great", b: "bad" } },
    gpt2,
    "completion",
  );
  for (let most = 8; most < 30; most += 1) {
    const { inputIds } = encodeCloze(bytes, new Map([["text", "🍕".repeat(9)]]), most);
    expect(gpt2.decode(inputIds)).toMatch(/^(🍕)*\nMood:$/u);
  }
});

test("a text may hold the mask token: the one of the template is the one that is found", () => {
  const cloze = makeCloze(usual, bert, "mask");
  const { inputIds, maskAt } = encodeCloze(cloze, new Map([["text", "the [MASK] food [MASK]"]]), 99);
  expect(
    inputIds
      .map((id) => bert.tokenOf(id))
      .slice(0, maskAt! + 2)
      .join(" "),
  ).toBe("[CLS] the [MASK] food [MASK] it was [MASK] .");
});

test("a data set: labels by name or number, columns under other names", () => {
  const cloze = makeCloze({ ...usual, verbalizer: { 0: "bad", 1: "great" } }, bert, "mask");
  const data = rows({ review: "good food", stars: 1 }, { review: " bad ", stars: "0" });
  const { examples, collate } = encodeClozeDataset(data, cloze, {
    columns: { text: "review", label: "stars" },
  });
  expect(examples.map(({ labels, trained }) => [labels, trained])).toEqual([
    [[1], 1],
    [[0], 1],
  ]);
  expect(collate).toBeDefined();
  const batch = encodeClozeDataset(data, cloze, { columns: { text: "review", label: "stars" } }).collate(
    examples,
  );
  expect(batch).toMatchObject({ labels: [1, 0], maskPositions: [5, 4] });
});

test("everything that is wrong with template and words is said at once", () => {
  expect(
    fault({
      template: "{text} {text It was <mask>.",
      verbalizer: { great: ["wonderful", ""], other: [], third: "great", fourth: "great" },
    }),
  ).toMatchInlineSnapshot(`
    "The cloze has 6 faults.
      template    has a { that stands alone
      template    holds <mask>, the mask of other models; that of this model is [MASK]
      verbalizer  "wonderful" of "great" is 9 tokens, w ##o ##n ##d ##e ##r ##f ##u ##l, and one mask stands for one
      verbalizer  "great" has an empty word
      verbalizer  "other" has no word
      verbalizer  "great" of "third" is the same as "great" of "fourth"
    fix: write {{ and }} for braces themselves
     or: write {mask}
     or: choose words that are one token, or a causal model, which takes several"
  `);
});

test("faults of the template", () => {
  expect(fault({ template: "{text} It was great." })).toMatchInlineSnapshot(`
    "The cloze has a fault.
      template  has no {mask}, so there is no word to be found
    fix: template: "{text} It was {mask}.""
  `);
  expect(fault({ template: "{text} {mask} [MASK]" })).toMatchInlineSnapshot(`
    "The cloze has a fault.
      template  has 2 masks; one word is found
    fix: leave one {mask}"
  `);
  expect(fault({ template: "It was {mask}." })).toMatchInlineSnapshot(`
    "The cloze has a fault.
      template  shows no column, so that all rows would read the same
    fix: template: "{text} It was {mask}.""
  `);
  expect(fault({ template: "" })).toMatchInlineSnapshot(`
    "The cloze has a fault.
      template  is empty
    fix: template: "{text} It was {mask}.""
  `);
  expect(fault({ template: "{label} {text} {mask}" })).toMatchInlineSnapshot(`
    "The cloze has a fault.
      template  shows {label}, which is what is to be found
    fix: leave {label} out"
  `);
  expect(fault({}, plain)).toMatchInlineSnapshot(`
    "The cloze has a fault.
      tokenizer  has no mask token
    fix: mend mask_token in tokenizer_config.json, or use a causal model"
  `);
  expect(fault({ template: "{text} It was [MASK]." }, roberta)).toMatchInlineSnapshot(`
    "The cloze has 2 faults.
      template    holds [MASK], the mask of other models; that of this model is <mask>
      verbalizer  "terrible" of "other" is 9 tokens, Ġ t e r r i b l e, and one mask stands for one
    fix: write {mask}
     or: choose words that are one token, or a causal model, which takes several"
  `);
  expect(fault({}, gpt2, "completion")).toMatchInlineSnapshot(`
    "The cloze has a fault.
      template  goes on behind {mask}, and a causal model reads what stands before it alone
    fix: end it with {mask}, as "{text}\\nSentiment: {mask}""
  `);
  const cloze = makeCloze(usual, bert, "mask");
  expect(() => encodeCloze(cloze, new Map([["text", "good"]]), 5)).toThrowErrorMatchingInlineSnapshot(`
    [ConfigError: The cloze has a fault.
      template  takes 6 tokens by itself; there is room for 5
    fix: maxLength: 70   (--max-length)]
  `);
});

test("faults of the words", () => {
  expect(fault({ verbalizer: { great: "gret", other: "bad" } })).toMatchInlineSnapshot(`
    "The cloze has a fault.
      verbalizer  "gret" of "great" is 4 tokens, g ##r ##e ##t, and one mask stands for one; nearest that is one: great
    fix: choose words that are one token, or a causal model, which takes several"
  `);
  expect(fault({ verbalizer: { great: "grün", other: "bad" } })).toMatchInlineSnapshot(`
    "The cloze has a fault.
      verbalizer  "grün" of "great" is 4 tokens, g ##r ##u ##n, and one mask stands for one
    fix: choose words that are one token, or a causal model, which takes several"
  `);
  expect(fault({ verbalizer: { great: "great" } })).toMatchInlineSnapshot(`
    "The cloze has a fault.
      verbalizer  has one class, and at least two can be told apart
    fix: { "great": "great", "other": "bad" }"
  `);
  expect(fault({ verbalizer: { great: "good", other: ["bad", "Good"] } })).toMatchInlineSnapshot(`
    "The cloze has a fault.
      verbalizer  "good" of "great" is the same as "Good" of "other"
    fix: give each class words of its own"
  `);
  expect(fault({ verbalizer: "great" as never })).toMatchInlineSnapshot(`
    "The cloze has a fault.
      verbalizer  is the text "great"; words for each class were expected
    fix: { "great": "great", "other": "bad" }"
  `);
  expect(fault({ combineWords: "max" as never })).toMatchInlineSnapshot(`
    "cloze has an option that cannot be used.
      combineWords  "max" is not one of mean, sum
    fix: combineWords: "mean""
  `);
  expect(
    fault({ template: "{text}\nMood:", verbalizer: { a: "great", b: "great food" } }, gpt2, "completion"),
  ).toMatchInlineSnapshot(`
    "The cloze has a fault.
      verbalizer  "great" of "a" begins "great food" of "b", which can never be likelier
    fix: give each class words of its own"
  `);
  expect(fault({ template: "{text}{mask}", verbalizer: { a: "great", b: "bad" } })).toMatchInlineSnapshot(`
    "The cloze has 2 faults.
      verbalizer  "great" of "a" is 5 tokens, ##g ##r ##e ##a ##t, and one mask stands for one; nearest that is one: great
      verbalizer  "bad" of "b" is 3 tokens, ##b ##a ##d, and one mask stands for one; nearest that is one: bad
    fix: choose words that are one token, or a causal model, which takes several"
  `);
});

test("faults of the data", () => {
  const cloze = makeCloze({ ...usual, template: "{txet} {other} It was {mask}." }, bert, "mask");
  const data = rows(
    { text: "good", other: "a", label: "great" },
    { text: "bad", label: "grate" },
    { text: "bad", other: ["x"], label: "worst" },
    { text: "bad", other: "b", label: "worst" },
    { text: "bad", other: " ", label: ["great"] },
  );
  expect(() => encodeClozeDataset(data, cloze)).toThrowErrorMatchingInlineSnapshot(`
    [ConfigError: The cloze has 4 faults.
      template    shows {txet}, which is a column of no row; nearest: text
      verbalizer  has no word for the label "grate" of train.jsonl:2; it has great, other
      verbalizer  has no word for the label "worst" of train.jsonl:3 and 1 more; it has great, other
      rows        train.jsonl:2: it has no other
                  train.jsonl:3: its other is no text
                  train.jsonl:5: its other is empty
                  train.jsonl:5: it has several labels
    fix: write {text}
     or: give every label of the data a word
     or: rename columns: { text: "review", label: "score" }   (--columns text=review,label=score)]
  `);
});
