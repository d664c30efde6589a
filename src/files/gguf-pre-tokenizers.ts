type Json = Readonly<Record<string, unknown>>;

/** Bytes as visible characters. Python's tokenizers wants every key spelled out, in a decoder too. */
export const BYTE_LEVEL: Json = {
  type: "ByteLevel",
  add_prefix_space: false,
  trim_offsets: true,
  use_regex: true,
};

/** How a byte-level tokenizer of a GGUF file treats text before and beside merging. */
export interface PreTokenizer {
  readonly cut: Json;
  readonly normalizer: Json | null;
  /** Takes a piece that is a token as it is, whatever its merges would give. */
  readonly ignoreMerges: boolean;
  /** Whether the first token is put in front where the file does not say. */
  readonly addBos: boolean;
}

const isolate = (pattern: string): Json => ({
  type: "Split",
  pattern: { Regex: pattern },
  behavior: "Isolated",
  invert: false,
});

const split = (pattern: string): Json => ({
  type: "Sequence",
  pretokenizers: [isolate(pattern), { ...BYTE_LEVEL, use_regex: false }],
});

const CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
const WORDS = "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+";
const REST = " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

const PLAIN: PreTokenizer = { cut: BYTE_LEVEL, normalizer: null, ignoreMerges: false, addBos: false };

const LLAMA_3: PreTokenizer = {
  cut: split(`${CONTRACTIONS}|${WORDS}|\\p{N}{1,3}|${REST}`),
  normalizer: null,
  ignoreMerges: true,
  addBos: true,
};

const QWEN: PreTokenizer = {
  ...PLAIN,
  cut: split(`${CONTRACTIONS}|${WORDS}|\\p{N}|${REST}`),
  normalizer: { type: "NFC" },
};

/** By `tokenizer.ggml.pre`. */
export const PRE_TOKENIZERS: Readonly<Record<string, PreTokenizer>> = {
  smollm: {
    ...PLAIN,
    // Digits one by one. The pre-tokenizer "Digits" means ASCII alone in JavaScript and all numerals in Python.
    cut: { type: "Sequence", pretokenizers: [isolate("\\p{N}"), BYTE_LEVEL] },
  },
  "llama-bpe": LLAMA_3,
  "llama-v3": LLAMA_3,
  llama3: LLAMA_3,
  qwen2: QWEN,
  default: PLAIN,
  "gpt-2": PLAIN,
};
