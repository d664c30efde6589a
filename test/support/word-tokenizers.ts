import type { TokenizerFiles } from "../../src/files/checkpoint.js";
import { tinyTokenizerFiles } from "./tiny-tokenizer.js";

const added = (content: string, id: number, more: Readonly<Record<string, boolean>> = {}) => ({
  id,
  content,
  single_word: false,
  lstrip: false,
  rstrip: false,
  normalized: false,
  special: true,
  ...more,
});

/** A tokenizer as BERT has it: lower case, words, and parts of words behind ##. */
export function wordPieceFiles(words: readonly string[], options: { mask?: boolean } = {}): TokenizerFiles {
  const special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", ...(options.mask === false ? [] : ["[MASK]"])];
  const pieces = [..."abcdefghijklmnopqrstuvwxyz.,!:'\"[]"].flatMap((one) => [one, `##${one}`]);
  const vocabulary = [...new Set([...special, ...pieces, ...words])];
  return {
    tokenizer: {
      version: "1.0",
      added_tokens: special.map((content, id) => added(content, id)),
      normalizer: {
        type: "BertNormalizer",
        clean_text: true,
        handle_chinese_chars: true,
        strip_accents: null,
        lowercase: true,
      },
      pre_tokenizer: { type: "BertPreTokenizer" },
      post_processor: {
        type: "TemplateProcessing",
        single: [
          { SpecialToken: { id: "[CLS]", type_id: 0 } },
          { Sequence: { id: "A", type_id: 0 } },
          { SpecialToken: { id: "[SEP]", type_id: 0 } },
        ],
        pair: [
          { SpecialToken: { id: "[CLS]", type_id: 0 } },
          { Sequence: { id: "A", type_id: 0 } },
          { SpecialToken: { id: "[SEP]", type_id: 0 } },
          { Sequence: { id: "B", type_id: 1 } },
          { SpecialToken: { id: "[SEP]", type_id: 1 } },
        ],
        special_tokens: {
          "[CLS]": { id: "[CLS]", ids: [2], tokens: ["[CLS]"] },
          "[SEP]": { id: "[SEP]", ids: [3], tokens: ["[SEP]"] },
        },
      },
      decoder: { type: "WordPiece", prefix: "##", cleanup: true },
      model: {
        type: "WordPiece",
        unk_token: "[UNK]",
        continuing_subword_prefix: "##",
        max_input_chars_per_word: 100,
        vocab: Object.fromEntries(vocabulary.map((word, id) => [word, id])),
      },
    },
    config: {
      tokenizer_class: "BertTokenizer",
      pad_token: "[PAD]",
      unk_token: "[UNK]",
      cls_token: "[CLS]",
      sep_token: "[SEP]",
      ...(options.mask === false ? {} : { mask_token: "[MASK]" }),
    },
  };
}

/**
 * A byte-level tokenizer that has these words, each with the space before it, as single tokens; with a mask as RoBERTa has it, which
 * takes the space before it.
 */
export function byteLevelFiles(words: readonly string[], options: { mask?: boolean } = {}): TokenizerFiles {
  const files = tinyTokenizerFiles({ template: false });
  const tokenizer = structuredClone(files.tokenizer) as {
    added_tokens: unknown[];
    model: { vocab: Record<string, number>; merges: string[] };
  };
  const { vocab, merges } = tokenizer.model;
  for (const word of words) {
    const whole = word.replace(/^ /, "Ġ");
    for (let end = 2; end <= whole.length; end += 1) {
      const merge = `${whole.slice(0, end - 1)} ${whole[end - 1]}`;
      if (!merges.includes(merge)) merges.push(merge);
      vocab[whole.slice(0, end)] ??= Object.keys(vocab).length;
    }
  }
  if (options.mask === true) {
    const id = Object.keys(vocab).length;
    vocab["<mask>"] = id;
    tokenizer.added_tokens.push(added("<mask>", id, { lstrip: true }));
  }
  return {
    tokenizer: tokenizer as unknown as Record<string, unknown>,
    config: { ...files.config, ...(options.mask === true ? { mask_token: "<mask>" } : {}) },
  };
}
