import type { GgufHeader } from "./gguf-header.js";
import type { TokenizerFiles } from "./checkpoint.js";
import { UnsupportedError } from "../base/errors.js";

type Json = Record<string, unknown>;

const BYTE_LEVEL = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true };

const split = (pattern: string): Json => ({
  type: "Sequence",
  pretokenizers: [
    { type: "Split", pattern: { Regex: pattern }, behavior: "Isolated", invert: false },
    { ...BYTE_LEVEL, use_regex: false },
  ],
});

const CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
const WORDS = "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+";
const REST = " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

/** How text is cut before merging, by `tokenizer.ggml.pre`. */
const PRE_TOKENIZERS: Readonly<Record<string, Json>> = {
  smollm: {
    type: "Sequence",
    pretokenizers: [
      { type: "Digits", individual_digits: true },
      { ...BYTE_LEVEL, use_regex: true },
    ],
  },
  "llama-bpe": split(`${CONTRACTIONS}|${WORDS}|\\p{N}{1,3}|${REST}`),
  qwen2: split(`${CONTRACTIONS}|${WORDS}|\\p{N}|${REST}`),
  default: { ...BYTE_LEVEL, use_regex: true },
  "gpt-2": { ...BYTE_LEVEL, use_regex: true },
};

const CONTROL = 3;
const USER_DEFINED = 4;

function addedTokens(tokens: readonly string[], types: readonly number[]): Json[] {
  return tokens.flatMap((content, id) =>
    types[id] === CONTROL || types[id] === USER_DEFINED
      ? [
          {
            id,
            content,
            single_word: false,
            lstrip: false,
            rstrip: false,
            normalized: false,
            special: types[id] === CONTROL,
          },
        ]
      : [],
  );
}

/** Byte-level BPE. */
function byteLevel(pre: string, tokens: readonly string[], merges: readonly string[], path: string): Json {
  const preTokenizer = PRE_TOKENIZERS[pre];
  if (preTokenizer === undefined) {
    throw new UnsupportedError({
      code: "gguf_tokenizer",
      summary: `The tokenizer of ${path} cuts text in the way "${pre}", which is not known.`,
      facts: [["known", Object.keys(PRE_TOKENIZERS).join(", ")]],
      fixes: ["use the Hugging Face folder of this model, which brings its tokenizer.json"],
      fields: { path, pre },
    });
  }
  return {
    normalizer: pre === "qwen2" ? { type: "NFC" } : null,
    pre_tokenizer: preTokenizer,
    post_processor: { ...BYTE_LEVEL, trim_offsets: false },
    decoder: { type: "ByteLevel" },
    model: {
      type: "BPE",
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
      merges: merges.map((merge) => {
        const space = merge.indexOf(" ", 1);
        return [merge.slice(0, space), merge.slice(space + 1)];
      }),
    },
  };
}

/** Every way to make a token of two others, the likeliest token first: the order in which SentencePiece would merge. */
function mergesFromScores(tokens: readonly string[], scores: readonly number[]): [string, string][] {
  const ids = new Map(tokens.map((token, id) => [token, id]));
  const merges: { pair: [string, string]; score: number }[] = [];
  for (const [id, token] of tokens.entries()) {
    const found: { pair: [string, string]; score: number; left: number; right: number }[] = [];
    for (let at = 1; at < token.length; at += 1) {
      const pair: [string, string] = [token.slice(0, at), token.slice(at)];
      const [left, right] = [ids.get(pair[0]), ids.get(pair[1])];
      if (left !== undefined && right !== undefined) found.push({ pair, score: scores[id]!, left, right });
    }
    merges.push(...found.sort((a, b) => a.left - b.left || a.right - b.right));
  }
  return merges.sort((a, b) => b.score - a.score).map(({ pair }) => pair);
}

/** SentencePiece BPE, as Llama 2 and Mistral have it. */
function sentencePiece(tokens: readonly string[], scores: readonly number[], prefix: boolean): Json {
  const space = { type: "Replace", pattern: { String: " " }, content: "▁" };
  return {
    normalizer: {
      type: "Sequence",
      normalizers: prefix ? [{ type: "Prepend", prepend: "▁" }, space] : [space],
    },
    pre_tokenizer: null,
    post_processor: null,
    decoder: {
      type: "Sequence",
      decoders: [
        { type: "Replace", pattern: { String: "▁" }, content: " " },
        { type: "ByteFallback" },
        { type: "Fuse" },
        ...(prefix ? [{ type: "Strip", content: " ", start: 1, stop: 0 }] : []),
      ],
    },
    model: {
      type: "BPE",
      dropout: null,
      unk_token: "<unk>",
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: true,
      byte_fallback: true,
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
      merges: mergesFromScores(tokens, scores),
    },
  };
}

/** `tokenizer.json` and `tokenizer_config.json` made from the metadata of a GGUF file; undefined where it holds no tokenizer. */
export function ggufTokenizer({ metadata }: GgufHeader, path: string): TokenizerFiles | undefined {
  const get = (key: string): unknown => metadata.get(`tokenizer.ggml.${key}`);
  const tokens = get("tokens") as string[] | undefined;
  if (tokens === undefined) return undefined;
  const types = (get("token_type") ?? []) as number[];
  const kind = String(get("model"));
  const added = addedTokens(tokens, types);
  const body =
    kind === "gpt2"
      ? byteLevel(String(get("pre") ?? "default"), tokens, (get("merges") ?? []) as string[], path)
      : kind === "llama"
        ? sentencePiece(tokens, (get("scores") ?? []) as number[], get("add_space_prefix") !== false)
        : undefined;
  if (body === undefined) {
    throw new UnsupportedError({
      code: "gguf_tokenizer",
      summary: `The tokenizer of ${path} is of the kind "${kind}", which is not known.`,
      facts: [["known", "gpt2, llama"]],
      fields: { path, kind },
    });
  }
  const tokenAt = (key: string): string | undefined => {
    const id = get(key);
    return typeof id === "number" ? tokens[id] : undefined;
  };
  const named = Object.entries({
    bos_token: tokenAt("bos_token_id"),
    eos_token: tokenAt("eos_token_id"),
    unk_token: tokenAt("unknown_token_id"),
    pad_token: tokenAt("padding_token_id"),
  }).filter(([, token]) => token !== undefined);
  const template = metadata.get("tokenizer.chat_template");
  const addBos = get("add_bos_token") ?? kind === "llama";
  const bos = tokenAt("bos_token_id");
  const tokenizer: Json = { version: "1.0", truncation: null, padding: null, added_tokens: added, ...body };
  if (addBos === true && bos !== undefined) {
    tokenizer["post_processor"] = bosTemplate(bos, get("bos_token_id") as number);
  }
  return {
    tokenizer,
    config: {
      tokenizer_class: "PreTrainedTokenizerFast",
      ...Object.fromEntries(named),
      add_bos_token: addBos,
      clean_up_tokenization_spaces: false,
      model_max_length: 1e30,
      ...(typeof template === "string" ? { chat_template: template } : {}),
    },
  };
}

/** A post-processor that puts the first token in front. */
function bosTemplate(token: string, id: number): Json {
  const first = { SpecialToken: { id: token, type_id: 0 } };
  return {
    type: "TemplateProcessing",
    single: [first, { Sequence: { id: "A", type_id: 0 } }],
    pair: [first, { Sequence: { id: "A", type_id: 0 } }, first, { Sequence: { id: "B", type_id: 1 } }],
    special_tokens: { [token]: { id: token, ids: [id], tokens: [token] } },
  };
}
