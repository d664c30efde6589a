import { CheckpointError, UnsupportedError } from "../base/errors.js";
import type { TokenizerFiles } from "./checkpoint.js";
import type { GgufHeader } from "./gguf-header.js";
import { BYTE_LEVEL, PRE_TOKENIZERS, type PreTokenizer } from "./gguf-pre-tokenizers.js";

type Json = Record<string, unknown>;

const UNKNOWN = 2;
const CONTROL = 3;
const USER_DEFINED = 4;

function addedTokens(tokens: readonly string[], types: readonly number[]): Json[] {
  return tokens.flatMap((content, id) =>
    types[id] === UNKNOWN || types[id] === CONTROL || types[id] === USER_DEFINED
      ? [
          {
            id,
            content,
            single_word: false,
            lstrip: false,
            rstrip: false,
            normalized: false,
            special: types[id] !== USER_DEFINED,
          },
        ]
      : [],
  );
}

/** The way of cutting that a file names. */
function findPreTokenizer(pre: string, path: string): PreTokenizer {
  const found = PRE_TOKENIZERS[pre];
  if (found !== undefined) return found;
  throw new UnsupportedError({
    code: "gguf_tokenizer",
    summary: `The tokenizer of ${path} cuts text in the way "${pre}", which is not known.`,
    facts: [["known", Object.keys(PRE_TOKENIZERS).join(", ")]],
    fixes: ["use the Hugging Face folder of this model, which brings its tokenizer.json"],
    fields: { path, pre },
  });
}

/** The two halves of a merge. The first character belongs to the left one, whatever it is. */
function splitMerge(merge: string): [left: string, right: string] {
  const space = Math.max(1, merge.indexOf(" ", 1));
  return [merge.slice(0, space), merge.slice(space + 1)];
}

/** A list in the metadata; an absent one is empty. */
function readList<T>(value: unknown, key: string, type: "string" | "number", path: string): T[] {
  if (value === undefined) return [];
  if (Array.isArray(value) && value.every((item) => typeof item === type)) return value as T[];
  throw new CheckpointError({
    code: "header_lies",
    summary: `tokenizer.ggml.${key} of ${path} is no list of ${type}s.`,
    fixes: ["fetch the file again"],
    fields: { path, key },
  });
}

/** Byte-level BPE. */
function byteLevel(pre: PreTokenizer, tokens: readonly string[], merges: readonly string[]): Json {
  return {
    normalizer: pre.normalizer,
    pre_tokenizer: pre.cut,
    post_processor: { ...BYTE_LEVEL, trim_offsets: false },
    decoder: BYTE_LEVEL,
    model: {
      type: "BPE",
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: pre.ignoreMerges,
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
      merges: merges.map(splitMerge),
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
      if (left !== undefined && right !== undefined)
        found.push({ pair, score: scores[id] ?? 0, left, right });
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
  if (get("tokens") === undefined) return undefined;
  const list = <T>(key: string, type: "string" | "number"): T[] => readList<T>(get(key), key, type, path);
  const tokens = list<string>("tokens", "string");
  const types = list<number>("token_type", "number");
  const kind = String(get("model"));
  const added = addedTokens(tokens, types);
  let body: Json;
  let startsWithBos: boolean;
  if (kind === "gpt2") {
    const pre = findPreTokenizer(String(get("pre") ?? "default"), path);
    body = byteLevel(pre, tokens, list<string>("merges", "string"));
    startsWithBos = pre.addBos;
  } else if (kind === "llama") {
    body = sentencePiece(tokens, list<number>("scores", "number"), get("add_space_prefix") !== false);
    startsWithBos = true;
  } else {
    throw new UnsupportedError({
      code: "gguf_tokenizer",
      summary: `The tokenizer of ${path} is of the kind "${kind}", which is not known.`,
      facts: [["known", "gpt2, llama"]],
      fixes: ["use the Hugging Face folder of this model, which brings its tokenizer.json"],
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
  const addBos = get("add_bos_token") ?? startsWithBos;
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
