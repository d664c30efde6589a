import type { TokenizerFiles } from "../../src/files/checkpoint.js";

/** Bytes as printable characters, as byte-level BPE writes them. */
function byteCharacters(): string[] {
  let extra = 0;
  return Array.from({ length: 256 }, (_, b) =>
    (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174
      ? String.fromCodePoint(b)
      : String.fromCodePoint(256 + extra++),
  );
}

const SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];
const CHATML =
  "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}{% endfor %}" +
  "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

/** A byte-level tokenizer of 259 tokens, with ChatML. */
export function tinyTokenizerFiles(options: { readonly template?: boolean } = {}): TokenizerFiles {
  const tokens = [...SPECIAL, ...byteCharacters()];
  const byteLevel = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true };
  return {
    tokenizer: {
      version: "1.0",
      added_tokens: SPECIAL.map((content, id) => ({
        id,
        content,
        single_word: false,
        lstrip: false,
        rstrip: false,
        normalized: false,
        special: true,
      })),
      normalizer: null,
      pre_tokenizer: byteLevel,
      post_processor: null,
      decoder: byteLevel,
      model: { type: "BPE", vocab: Object.fromEntries(tokens.map((token, id) => [token, id])), merges: [] },
    },
    config: {
      tokenizer_class: "PreTrainedTokenizerFast",
      eos_token: "<|im_end|>",
      bos_token: "<|endoftext|>",
      ...(options.template === false ? {} : { chat_template: CHATML }),
    },
  };
}
