import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { fixturesFolder } from "../../test/support/fixture.js";
import { tinyTokenizerFiles } from "../../test/support/tiny-tokenizer.js";
import { packSeq2Seq, type Seq2SeqBatch } from "./collate-seq2seq.js";
import { describeExample } from "./describe-example.js";
import { encodeSeq2SeqDataset, encodeWithEnd } from "./seq2seq-dataset.js";
import { tokenizerFromFiles } from "./tokenizer.js";

const at = (file: string): unknown =>
  JSON.parse(readFileSync(join(fixturesFolder, "seq2seq", "tokenizer", file), "utf8"));
const t5 = tokenizerFromFiles({
  tokenizer: at("tokenizer.json") as Record<string, unknown>,
  config: at("tokenizer_config.json") as Record<string, unknown>,
});
const plain = tokenizerFromFiles(tinyTokenizerFiles({ template: false }));
const row = (value: Record<string, unknown>, line = 1) => ({ source: `train.jsonl:${line}`, value });
const messageOf = (work: () => unknown): string => {
  try {
    work();
  } catch (error) {
    return (error as Error).message;
  }
  return "nothing was thrown";
};

describe("the tokenizer of T5", () => {
  test.each(at("encoded.json") as { text: string; ids: number[]; decoded: string }[])(
    "$text",
    ({ text, ids, decoded }) => {
      expect(t5.encode(text)).toEqual(ids);
      expect(encodeWithEnd(t5, text)).toEqual(ids);
      expect(t5.decode(ids)).toBe(decoded);
    },
  );

  test("a tokenizer that ends no text gets an end", () => {
    expect(encodeWithEnd(plain, "a")).toEqual([...plain.encode("a"), 2]);
  });
});

describe("rows", () => {
  const shown = (value: Record<string, unknown>, maxLength?: number) => {
    const { examples } = encodeSeq2SeqDataset([row(value)], t5, { maxLength });
    return describeExample(examples[0]!, t5).map(({ text, learnt }) => (learnt ? `[[${text}]]` : text));
  };

  test("the source is read, the answer is learnt with its end", () => {
    const expected = ["the cat</s>", "[[a dog</s>]]"];
    expect(shown({ source: "the cat", target: "a dog" })).toEqual(expected);
    expect(shown({ prompt: "the cat", completion: "a dog" })).toEqual(expected);
    expect(shown({ instruction: "the", input: "cat", output: "a dog" })).toEqual(expected);
  });

  test("of a conversation the last turn of the assistant is learnt", () => {
    const messages = [
      { role: "user", content: "the" },
      { role: "assistant", content: "cat" },
      { role: "user", content: "a" },
      { role: "assistant", content: "dog" },
      { role: "user", content: "never read" },
    ];
    expect(shown({ messages })).toEqual(["the cat a</s>", "[[dog</s>]]"]);
  });

  test("what is too long loses its end but not the token there", () => {
    expect(shown({ source: "the cat and a dog", target: "a dog is in" }, 3)).toEqual([
      "the cat</s>",
      "[[a dog</s>]]",
    ]);
    const { summary } = encodeSeq2SeqDataset([row({ source: "the cat and", target: "a" })], t5, {
      maxLength: 3,
    });
    expect(summary).toEqual({
      rows: 1,
      tokens: 5,
      trainedTokens: 2,
      longest: 3,
      truncatedRows: 1,
      skippedRows: 0,
    });
  });

  test("a text alone has no answer", () => {
    expect(messageOf(() => encodeSeq2SeqDataset([row({ text: "a" }), row({ text: "b" }, 2)], t5)))
      .toMatchInlineSnapshot(`
      "2 of 2 rows hold a text alone, and nothing to answer.
        rows  train.jsonl:1
              train.jsonl:2
      fix: give source + target or prompt + completion
       or: learn plain text with a causal language model   (--task causal-lm)"
    `);
  });
});

describe("batches", () => {
  const pack = (batch: Seq2SeqBatch) => packSeq2Seq(batch, { vocabularySize: 61, start: 0, padding: 0 });

  test("labels are shifted to the right, and ignored ones at the end left out", () => {
    const packed = pack({
      inputIds: [
        [5, 6, 0],
        [7, 8, 9],
      ],
      attentionMask: [
        [1, 1, 0],
        [1, 1, 1],
      ],
      labels: [
        [3, -100, 4, 1],
        [6, 1, -100, -100],
      ],
    });
    expect([...packed.source!.tokens]).toEqual([5, 6, 7, 8, 9]);
    expect([...packed.source!.rowOffsets]).toEqual([0, 2, 5]);
    expect([...packed.tokens]).toEqual([0, 3, 0, 4, 0, 6]);
    expect([...packed.rowOffsets]).toEqual([0, 4, 6]);
    expect([...packed.supervised]).toEqual([0, 2, 3, 4, 5]);
    expect([...packed.supervisedLabels]).toEqual([3, 4, 1, 6, 1]);
    expect([...packed.paddedIndex]).toEqual([0, 1, 2, 3, 4, 5]);
  });

  test("a row of which nothing is learnt begins all the same", () => {
    const packed = pack({ inputIds: [[5], [6]], labels: [[-100, -100], [1]] });
    expect([...packed.tokens]).toEqual([0, 0]);
    expect([...packed.supervised]).toEqual([1]);
  });

  test("what the decoder reads can be given", () => {
    const packed = pack({ inputIds: [[5]], decoderInputIds: [[0, 7, 9]], decoderAttentionMask: [[1, 1, 0]] });
    expect([...packed.tokens]).toEqual([0, 7]);
    expect(packed.labels).toBeUndefined();
  });

  test.each<[string, Seq2SeqBatch]>([
    ["nothing for the decoder", { inputIds: [[5]] }],
    ["a row too few", { inputIds: [[5], [6]], labels: [[1]] }],
    ["a label that is no token", { inputIds: [[5]], labels: [[61]] }],
    ["a token that is none", { inputIds: [[5]], decoderInputIds: [[99]] }],
    ["labels beside other inputs", { inputIds: [[5]], decoderInputIds: [[0, 4]], labels: [[4]] }],
    ["an empty source", { inputIds: [[5], [6]], attentionMask: [[1], [0]], labels: [[1], [1]] }],
  ])("%s", (_, batch) => {
    expect(messageOf(() => pack(batch))).toMatchSnapshot();
  });
});
