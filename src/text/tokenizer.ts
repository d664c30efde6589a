import { Template } from "@huggingface/jinja";
import { Tokenizer as Encoder } from "@huggingface/tokenizers";
import { ConfigError } from "../base/errors.js";
import type { TokenizerFiles } from "../files/checkpoint.js";

/** A turn of a conversation. */
export interface Message {
  readonly role: string;
  readonly content: string;
  readonly [key: string]: unknown;
}

export interface ChatTemplateOptions {
  /** Ends with the words that make the model answer. */
  readonly addGenerationPrompt?: boolean;
  readonly tools?: readonly unknown[];
  /** Further variables that the template may read. */
  readonly variables?: Readonly<Record<string, unknown>>;
}

/** Text to token ids and back. */
export interface Tokenizer {
  /** Contents of the files it was made from, to be saved beside a model. */
  readonly files: TokenizerFiles;
  readonly vocabularySize: number;
  readonly bosTokenId: number | undefined;
  readonly padTokenId: number | undefined;
  /** What stands for a token that is not in the vocabulary. */
  readonly unkTokenId: number | undefined;
  /** What stands where a word is to be found, such as `[MASK]`; absent where the model was not trained so. */
  readonly maskToken: string | undefined;
  readonly maskTokenId: number | undefined;
  /** Ids that end an answer. */
  readonly eosTokenIds: readonly number[];
  readonly chatTemplate: string | undefined;
  encode(text: string, options?: { readonly addSpecialTokens?: boolean }): number[];
  /** A text, or two, with the special tokens around them and the part that each token belongs to. */
  encodePair(text: string, pair?: string): { readonly ids: number[]; readonly typeIds: number[] };
  decode(ids: readonly number[], options?: { readonly skipSpecialTokens?: boolean }): string;
  idOf(token: string): number | undefined;
  tokenOf(id: number): string | undefined;
  /**
   * A conversation as the model was trained to read it.
   *
   * @throws {@link ConfigError} `chat_template_missing`, or `chat_template` where the template refuses the conversation
   */
  applyChatTemplate(messages: readonly Message[], options?: ChatTemplateOptions): string;
}

function templateText({ config, chatTemplate }: TokenizerFiles): string | undefined {
  if (chatTemplate !== undefined) return chatTemplate;
  const value = config["chat_template"];
  if (typeof value === "string") return value;
  if (!Array.isArray(value)) return undefined;
  const named = value as { name?: string; template?: string }[];
  return (named.find(({ name }) => name === "default") ?? named[0])?.template;
}

/** Special tokens are written as text or as an object with `content`. */
function tokenText(config: Readonly<Record<string, unknown>>, key: string): string | undefined {
  const value = config[key];
  if (typeof value === "string") return value;
  return typeof value === "object" && value !== null ? (value as { content?: string }).content : undefined;
}

/**
 * A tokenizer from the contents of `tokenizer.json` and `tokenizer_config.json`.
 *
 * @example
 * const tokenizer = tokenizerFromFiles({ tokenizer: JSON.parse(a), config: JSON.parse(b) });
 * tokenizer.decode(tokenizer.encode("Hello"));
 */
export function tokenizerFromFiles(files: TokenizerFiles): Tokenizer {
  const encoder = new Encoder(files.tokenizer, files.config);
  const chatTemplate = templateText(files);
  const special = Object.fromEntries(
    ["bos_token", "eos_token", "pad_token", "unk_token", "mask_token"].map((key) => [
      key,
      tokenText(files.config, key),
    ]),
  );
  const idFor = (key: string): number | undefined => {
    const token = special[key];
    return token === undefined ? undefined : encoder.token_to_id(token);
  };
  const ids = [...encoder.get_vocab(true).values()];
  const eos = idFor("eos_token");
  let template: Template | undefined;
  return {
    files,
    vocabularySize: ids.reduce((most, id) => Math.max(most, id), 0) + 1,
    bosTokenId: idFor("bos_token"),
    padTokenId: idFor("pad_token"),
    unkTokenId: idFor("unk_token"),
    maskToken: special["mask_token"],
    maskTokenId: idFor("mask_token"),
    eosTokenIds: eos === undefined ? [] : [eos],
    chatTemplate,
    encode: (text, { addSpecialTokens = true } = {}) =>
      encoder.encode(text, { add_special_tokens: addSpecialTokens }).ids,
    encodePair(text, pair) {
      const encoding = encoder.encode(text, {
        ...(pair === undefined ? {} : { text_pair: pair }),
        return_token_type_ids: true,
      });
      // Tokenizers that put nothing around texts give no types, whatever their declaration says.
      const types = (encoding.token_type_ids as number[] | undefined) ?? [];
      return { ids: encoding.ids, typeIds: encoding.ids.map((_: number, i: number) => types[i] ?? 0) };
    },
    decode: (tokens, { skipSpecialTokens = true } = {}) =>
      tokens.length === 0 ? "" : encoder.decode([...tokens], { skip_special_tokens: skipSpecialTokens }),
    idOf: (token) => encoder.token_to_id(token),
    tokenOf: (id) => encoder.id_to_token(id),
    applyChatTemplate(messages, { addGenerationPrompt = false, tools, variables } = {}) {
      if (chatTemplate === undefined) {
        throw new ConfigError({
          code: "chat_template_missing",
          summary: "The model has no chat template, so it cannot be given a conversation.",
          fixes: ["give plain text instead of messages", "use an instruction-tuned model"],
        });
      }
      template ??= new Template(chatTemplate);
      try {
        return template.render({
          ...special,
          ...variables,
          messages,
          tools: tools ?? null,
          add_generation_prompt: addGenerationPrompt,
        });
      } catch (error) {
        throw new ConfigError({
          code: "chat_template",
          summary: `The chat template failed: ${(error as Error).message}.`,
          fields: { messages },
          cause: error,
        });
      }
    },
  };
}
