import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { tinyTokenizerFiles } from "../../test/support/tiny-tokenizer.js";
import { readRows } from "../files/data-file.js";
import { collate, packBatch } from "./collate.js";
import { encodeDataset } from "./dataset.js";
import { describeExample } from "./describe-example.js";
import { encodeExample } from "./encode-example.js";
import { readExamples } from "./rows.js";
import { createStreamDecoder } from "./stream-decoder.js";
import { tokenizerFromFiles } from "./tokenizer.js";

const tokenizer = tokenizerFromFiles(tinyTokenizerFiles());
const plain = tokenizerFromFiles(tinyTokenizerFiles({ template: false }));
const folder = mkdtempSync(join(tmpdir(), "peft-text-"));
afterAll(() => rmSync(folder, { recursive: true }));
const row = (value: Record<string, unknown>, line = 1) => ({ source: `train.jsonl:${line}`, value });
const messageOf = (work: () => unknown): string => {
  try {
    work();
  } catch (error) {
    return (error as Error).message.replaceAll(folder, "DIR");
  }
  return "nothing was thrown";
};
const options = { maxLength: 1024, lossOn: "completion" as const };

describe("tokenizer", () => {
  test("text, special tokens and odd bytes survive the way there and back", () => {
    for (const text of ["plain", "naïve — 日本語 🎉\n\ttabs", "<|im_start|>user\nhi<|im_end|>"]) {
      expect(tokenizer.decode(tokenizer.encode(text), { skipSpecialTokens: false })).toBe(text);
    }
    expect(tokenizer.eosTokenIds).toEqual([2]);
    expect(tokenizer.vocabularySize).toBe(259);
  });

  test("streaming gives the same text, and never half a character", () => {
    const text = "a🎉日本 b";
    const decoder = createStreamDecoder(tokenizer);
    const pieces = tokenizer.encode(text).map((id) => decoder.push(id));
    expect([...pieces, decoder.end()].join("")).toBe(text);
    expect(pieces.some((piece) => piece.includes("\uFFFD"))).toBe(false);
  });

  test("a conversation without a template", () => {
    expect(messageOf(() => plain.applyChatTemplate([{ role: "user", content: "hi" }])))
      .toMatchInlineSnapshot(`
      "The model has no chat template, so it cannot be given a conversation.
      fix: give plain text instead of messages
       or: use an instruction-tuned model"
    `);
  });
});

describe("rows", () => {
  test("every shape", () => {
    const kinds = readExamples([
      row({
        messages: [
          { role: "user", content: "q" },
          { role: "assistant", content: "a" },
        ],
      }),
      row({
        conversations: [
          { from: "human", value: "q" },
          { from: "gpt", value: "a" },
        ],
      }),
      row({ prompt: "q", completion: "a" }),
      row({ prompt: [{ role: "user", content: "q" }], completion: [{ role: "assistant", content: "a" }] }),
      row({ instruction: "do", input: "this", output: "done" }),
      row({ instruction: "do", output: "done", system: "be kind" }),
      row({ text: "words" }),
    ]);
    expect(kinds.map(({ kind }) => kind)).toEqual([
      "chat",
      "chat",
      "completion",
      "chat",
      "completion",
      "chat",
      "text",
    ]);
    expect(kinds[4]).toMatchObject({ prompt: "do\nthis", completion: "done" });
    expect(kinds[1]).toMatchObject({ messages: [{ role: "user" }, { role: "assistant" }] });
  });

  test("columns under other names", () => {
    const [example] = readExamples([row({ question: "q", answer: "a" })], {
      prompt: "question",
      completion: "answer",
    });
    expect(example).toMatchObject({ kind: "completion", prompt: "q", completion: "a" });
  });

  test("rows that cannot be trained on are all named", () => {
    const rows = [
      row({ promt: "q", completion: "a" }, 1),
      row({ text: "  " }, 2),
      row({ messages: [{ role: "user", content: "q" }] }, 3),
      row({ prompt: "q", completion: "a" }, 4),
    ];
    expect(messageOf(() => readExamples(rows))).toMatchInlineSnapshot(`
      "3 of 4 rows cannot be trained on.
        rows    train.jsonl:1: its keys are promt, completion (promt → prompt?)
                train.jsonl:2: its text is empty
                train.jsonl:3: no message is the assistant's
        shapes  messages
                conversations
                prompt + completion
                instruction (+ input) + output
                source + target
                text
      fix: rename columns: { prompt: "question", completion: "answer" }   (--columns prompt=question,completion=answer)"
    `);
  });
});

describe("loss masks", () => {
  const learnt = (
    value: Record<string, unknown>,
    lossOn: "completion" | "all" = "completion",
    t = tokenizer,
  ) => {
    const [example] = readExamples([row(value)]);
    return describeExample(encodeExample(example!, t, { ...options, lossOn }), t)
      .filter((stretch) => stretch.learnt)
      .map(({ text }) => text);
  };

  test("a chat learns the assistant's turns with their ends, and nothing else", () => {
    const messages = [
      { role: "system", content: "s" },
      { role: "user", content: "q1" },
      { role: "assistant", content: "a1" },
      { role: "user", content: "q2" },
      { role: "assistant", content: "a2" },
    ];
    expect(learnt({ messages })).toEqual(["a1<|im_end|>\n", "a2<|im_end|>\n"]);
    expect(learnt({ messages }, "all").join("")).toContain("<|im_start|>system\ns");
  });

  test("prompt and completion become a conversation where there is a template, plain text otherwise", () => {
    expect(learnt({ prompt: "q", completion: "a" })).toEqual(["a<|im_end|>\n"]);
    expect(learnt({ prompt: "q", completion: "a" }, "completion", plain)).toEqual(["a<|im_end|>"]);
  });

  test("plain text is learnt as a whole", () => {
    expect(learnt({ text: "words" })).toEqual(["words<|im_end|>"]);
  });

  test("rows whose answer is cut off are left out and counted; where none remains it is an error", () => {
    const rows = [row({ prompt: "x".repeat(60), completion: "a" }), row({ prompt: "q", completion: "a" }, 2)];
    expect(encodeDataset(rows, tokenizer, { maxLength: 50 }).summary).toMatchObject({
      rows: 1,
      skippedRows: 1,
    });
    expect(messageOf(() => encodeDataset(rows.slice(0, 1), tokenizer, { maxLength: 50 })))
      .toMatchInlineSnapshot(`
      "None of the 1 rows has a token left to learn.
        maxLength    50 tokens
        longest row  82 tokens
        cut          1 rows are cut before their answer
      fix: maxLength: 82   (--max-length 82)"
    `);
  });

  test("an option out of bounds", () => {
    expect(messageOf(() => encodeDataset([row({ text: "a" })], tokenizer, { maxLength: 1 })))
      .toMatchInlineSnapshot(`
        "data set has an option that cannot be used.
          maxLength  1 is too small; at least 2 was expected
        fix: maxLength: 1024"
      `);
  });
});

describe("batches", () => {
  test("padding on either side is dropped, labels shift within their row", () => {
    const packed = packBatch({
      inputIds: [
        [5, 6, 7, 0],
        [0, 0, 8, 9],
      ],
      attentionMask: [
        [1, 1, 1, 0],
        [0, 0, 1, 1],
      ],
      labels: [
        [-100, 6, 7, -100],
        [-100, -100, -100, 9],
      ],
    });
    expect([...packed.tokens]).toEqual([5, 6, 7, 8, 9]);
    expect([...packed.rowOffsets]).toEqual([0, 3, 5]);
    expect([...packed.positions]).toEqual([0, 1, 2, 0, 1]);
    expect([...packed.paddedIndex]).toEqual([0, 1, 2, 6, 7]);
    expect([...packed.supervised]).toEqual([0, 1, 3]);
    expect([...packed.supervisedLabels]).toEqual([6, 7, 9]);
  });

  test("typed arrays and ragged rows", () => {
    const packed = packBatch({
      inputIds: [Int32Array.of(1, 2), BigInt64Array.of(3n) as unknown as number[]],
    });
    expect([...packed.tokens]).toEqual([1, 2, 3]);
    expect(packed.labels).toBeUndefined();
  });

  test.each([
    ["a token outside the vocabulary", { inputIds: [[1, 99]] }],
    ["a token that is no whole number", { inputIds: [[1.5]] }],
    ["rows of different number", { inputIds: [[1]], labels: [[1], [2]] }],
    ["rows of different length", { inputIds: [[1, 2]], labels: [[1]] }],
    ["a row of padding alone", { inputIds: [[1], [1]], attentionMask: [[1], [0]] }],
    ["no rows", { inputIds: [] }],
    ["a label that is no token", { inputIds: [[1, 2]], labels: [[1, 98]] }],
    ["a row that is too long", { inputIds: [[1, 2, 3, 4, 5]] }],
  ])("%s", (_, batch) => {
    expect(messageOf(() => packBatch(batch, { vocabularySize: 97, maxLength: 4 }))).toMatchSnapshot();
  });

  test("a share is held out", () => {
    const data = encodeDataset(
      Array.from({ length: 20 }, (_, i) => row({ text: `row ${i}` }, i)),
      tokenizer,
    );
    const { train, heldOut } = data.split(0.25, 0);
    expect([train.length, heldOut.length]).toEqual([15, 5]);
    expect(collate(heldOut.examples).inputIds).toHaveLength(5);
  });
});

describe("data files", () => {
  const write = (name: string, text: string): string => {
    writeFileSync(join(folder, name), text);
    return join(folder, name);
  };
  const failure = async (path: string): Promise<string> =>
    readRows(path).then(
      () => "read",
      (error: unknown) => (error as Error).message.replaceAll(folder, "DIR"),
    );

  test("lines, lists and tables", async () => {
    expect(await readRows(write("a.jsonl", '\uFEFF{"text":"x"}\n\n{"text":"y"}\n'))).toEqual([
      { source: "a.jsonl:1", value: { text: "x" } },
      { source: "a.jsonl:3", value: { text: "y" } },
    ]);
    expect(await readRows(write("a.json", '[{"text":"x"}]'))).toHaveLength(1);
    expect(await readRows(write("a.csv", 'prompt,completion\n"a, ""b""",c\n'))).toEqual([
      { source: "a.csv:2", value: { prompt: 'a, "b"', completion: "c" } },
    ]);
    write("train.jsonl", '{"text":"x"}');
    expect(await readRows(folder)).toHaveLength(1);
  });

  test("faults", async () => {
    expect(await failure(write("bad.jsonl", '{"text":"x"}\n{"text": oops}\n[1]\n'))).toMatchInlineSnapshot(`
      "DIR/bad.jsonl has 2 lines that are not a JSON object.
        lines  bad.jsonl:2: Unexpected token 'o', "{"text": oops}" is not valid JSON
               bad.jsonl:3: holds a list, not an object
      fix: write one JSON object on each line, without line breaks inside"
    `);
    expect(await failure(write("bad.json", '{"text": "x"}'))).toMatchInlineSnapshot(`
      "DIR/bad.json does not hold a list of objects.
      fix: write [ { ... }, { ... } ], or one object a line in a .jsonl file"
    `);
    expect(await failure(write("empty.jsonl", "\n"))).toMatchInlineSnapshot(
      `"DIR/empty.jsonl holds no rows."`,
    );
    expect(await failure(write("a.parquet", "PAR1"))).toMatchInlineSnapshot(`
      "DIR/a.parquet is of no kind that can be read.
        kinds  .jsonl, .ndjson, .json, .csv"
    `);
    expect(await failure(join(folder, "none.jsonl"))).toMatchInlineSnapshot(`
      "There is no data file DIR/none.jsonl.
      fix: check the path; .jsonl, .json and .csv files can be read"
    `);
  });
});
