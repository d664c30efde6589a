// Trains a byte-level BPE tokenizer on the base's text and writes it in Hugging Face's form.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { cacheFolder } from "./wordnet.mjs";

const VOCABULARY = 4096;
const SPECIAL = ["<|end|>", "<|pad|>", "<|system|>", "<|user|>", "<|assistant|>"];
const WORDS = /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu;
const TEMPLATE =
  "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endfor %}" +
  "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}";

/** Bytes as printable characters, as GPT-2 writes them. */
function byteCharacters() {
  const printable = (b) => (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
  let extra = 0;
  return Array.from({ length: 256 }, (_, b) => String.fromCodePoint(printable(b) ? b : 256 + extra++));
}

const characters = byteCharacters();
const encoder = new TextEncoder();
const counts = new Map();
for (const line of readFileSync(join(cacheFolder, "corpus.jsonl"), "utf8").trim().split("\n")) {
  const { word, definition, form } = JSON.parse(line);
  if (form !== "entry") continue;
  for (const [piece] of `${word}: ${definition}`.matchAll(WORDS)) counts.set(piece, (counts.get(piece) ?? 0) + 1);
}
const words = [...counts].map(([piece, count]) => ({ count, parts: [...encoder.encode(piece)].map((b) => characters[b]) }));

// Pairs with their counts and the words they stand in; a merge touches only those words.
const pairs = new Map();
const change = (word, index, sign) => {
  for (let i = 0; i + 1 < word.parts.length; i += 1) {
    const name = `${word.parts[i]} ${word.parts[i + 1]}`;
    let pair = pairs.get(name);
    if (pair === undefined) pairs.set(name, (pair = { name, count: 0, words: new Set() }));
    pair.count += sign * word.count;
    if (sign > 0) pair.words.add(index);
  }
};
words.forEach((word, index) => change(word, index, 1));
const merges = [];
const tokens = [...SPECIAL, ...characters.toSorted()];
while (tokens.length < VOCABULARY) {
  let best;
  for (const pair of pairs.values()) {
    if (best === undefined || pair.count > best.count || (pair.count === best.count && pair.name < best.name)) best = pair;
  }
  const [left, right] = best.name.split(" ");
  merges.push([left, right]);
  tokens.push(left + right);
  for (const index of best.words) {
    const word = words[index];
    change(word, index, -1);
    const parts = [];
    for (let i = 0; i < word.parts.length; i += 1) {
      const joins = word.parts[i] === left && word.parts[i + 1] === right;
      parts.push(joins ? left + right : word.parts[i]);
      if (joins) i += 1;
    }
    word.parts = parts;
    change(word, index, 1);
  }
  pairs.delete(best.name);
}

const byteLevel = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true };
const tokenizer = {
  version: "1.0",
  truncation: null,
  padding: null,
  added_tokens: SPECIAL.map((content, id) => ({
    id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true,
  })),
  normalizer: null,
  pre_tokenizer: byteLevel,
  post_processor: { ...byteLevel, trim_offsets: false },
  decoder: byteLevel,
  model: {
    type: "BPE",
    dropout: null,
    unk_token: null,
    continuing_subword_prefix: null,
    end_of_word_suffix: null,
    fuse_unk: false,
    byte_fallback: false,
    vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
    merges,
  },
};
const config = {
  tokenizer_class: "PreTrainedTokenizerFast",
  eos_token: "<|end|>",
  pad_token: "<|pad|>",
  clean_up_tokenization_spaces: false,
  model_max_length: 256,
  chat_template: TEMPLATE,
};
writeFileSync("embedded/base/tokenizer.json", `${JSON.stringify(tokenizer)}\n`);
writeFileSync("embedded/base/tokenizer_config.json", `${JSON.stringify(config, null, 2)}\n`);
console.log(`${tokens.length} tokens, ${merges.length} merges`);
