import { describe, expect, test } from "vitest";
import { type Tokenizer, tokenizerFromFiles } from "../text/tokenizer.js";
import type { GgufHeader, GgufValue } from "./gguf-header.js";
import { ggufTokenizer } from "./gguf-tokenizer.js";

const header = (metadata: Record<string, GgufValue>): GgufHeader => ({
  metadata: new Map(Object.entries(metadata).map(([key, value]) => [`tokenizer.ggml.${key}`, value])),
  tensors: [],
});

const tokenizer = (metadata: Record<string, GgufValue>): Tokenizer =>
  tokenizerFromFiles(ggufTokenizer(header(metadata), "x.gguf")!);

const NORMAL = 1;
const UNKNOWN = 2;
const CONTROL = 3;
const BYTE = 6;

describe("byte-level tokenizers", () => {
  const tokens = ["a", "b", "c", "1", "2", "Ġ", "Â", "½", "ab", "abc", "12", "ĠĠ", "<s>"];
  const made = (pre: string, more: Record<string, GgufValue> = {}): Tokenizer =>
    tokenizer({
      model: "gpt2",
      pre,
      tokens,
      token_type: tokens.map((_, id) => (id === 12 ? CONTROL : NORMAL)),
      merges: ["a b", "1 2", "Ġ Ġ"],
      bos_token_id: 12,
      ...more,
    });
  const id = (token: string): number => tokens.indexOf(token);

  test("cut digits as the model was trained", () => {
    expect(made("smollm").encode("12")).toEqual([id("1"), id("2")]);
    expect(made("qwen2").encode("12")).toEqual([id("1"), id("2")]);
    expect(made("default").encode("12")).toEqual([id("12")]);
    // Before a digit the spaces stay together: it is cut off first.
    expect(made("smollm").encode("  1")).toEqual([id("ĠĠ"), id("1")]);
    expect(made("default").encode("  1")).toEqual([id("Ġ"), id("Ġ"), id("1")]);
    expect(made("smollm").encode(" ½")).toEqual([id("Ġ"), id("Â"), id("½")]);
  });

  test("Llama 3 starts with its first token, and takes a piece that is a token as it is", () => {
    expect(made("llama-bpe").encode("abc12")).toEqual([id("<s>"), id("abc"), id("12")]);
    expect(made("llama-bpe", { add_bos_token: false }).encode("abc")).toEqual([id("abc")]);
    expect(made("qwen2").encode("abc")).toEqual([id("ab"), id("c")]);
  });

  test("every key that Python's tokenizers reads is there", () => {
    const { decoder } = made("smollm").files.tokenizer;
    expect(decoder).toEqual({
      type: "ByteLevel",
      add_prefix_space: false,
      trim_offsets: true,
      use_regex: true,
    });
  });

  test("an unknown way of cutting", () => {
    expect(() => made("tekken")).toThrowErrorMatchingInlineSnapshot(`
      [UnsupportedError: The tokenizer of x.gguf cuts text in the way "tekken", which is not known.
        known  smollm, llama-bpe, llama-v3, llama3, qwen2, default, gpt-2
      fix: use the Hugging Face folder of this model, which brings its tokenizer.json]
    `);
  });

  test("lists that are none", () => {
    expect(() => made("smollm", { merges: [1, 2] })).toThrowErrorMatchingInlineSnapshot(`
      [CheckpointError: tokenizer.ggml.merges of x.gguf is no list of strings.
      fix: fetch the file again]
    `);
  });
});

test("SentencePiece merges by score, falls back to bytes, and puts a space in front", () => {
  const pieces: [token: string, type: number, score: number][] = [
    ["<unk>", UNKNOWN, 0],
    ["<s>", CONTROL, 0],
    ["</s>", CONTROL, 0],
    ["<0xC3>", BYTE, 0],
    ["<0xA9>", BYTE, 0],
    ["▁", NORMAL, -10],
    ["a", NORMAL, -11],
    ["b", NORMAL, -12],
    ["ab", NORMAL, -2],
    ["▁a", NORMAL, -1],
    ["▁ab", NORMAL, -3],
    ["ba", NORMAL, -4],
  ];
  const id = (token: string): number => pieces.findIndex(([piece]) => piece === token);
  const made = (more: Record<string, GgufValue> = {}): Tokenizer =>
    tokenizer({
      model: "llama",
      tokens: pieces.map(([token]) => token),
      token_type: pieces.map(([, type]) => type),
      scores: pieces.map(([, , score]) => score),
      bos_token_id: 1,
      eos_token_id: 2,
      unknown_token_id: 0,
      ...more,
    });
  const spm = made();
  expect(spm.encode("ab")).toEqual([id("<s>"), id("▁ab")]);
  // "▁a" comes before "ab": the second "a" of "aab" is joined with "b" only after it.
  expect(spm.encode("aab")).toEqual([id("<s>"), id("▁a"), id("ab")]);
  expect(spm.encode("é", { addSpecialTokens: false })).toEqual([id("▁"), id("<0xC3>"), id("<0xA9>")]);
  expect(spm.decode(spm.encode("ab é"))).toBe("ab é");
  expect(made({ add_space_prefix: false }).encode("ab")).toEqual([id("<s>"), id("ab")]);
  expect(made({ add_bos_token: false }).encode("ab</s>")).toEqual([id("▁ab"), id("</s>")]);
});

test("a file without a tokenizer has none", () => {
  expect(ggufTokenizer(header({}), "x.gguf")).toBeUndefined();
});
