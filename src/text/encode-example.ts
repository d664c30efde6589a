import { choice, integer, type OptionValues } from "../base/option.js";
import type { Example } from "./rows.js";
import type { Message, Tokenizer } from "./tokenizer.js";

/** How examples become tokens. */
export const encodingOptions = {
  maxLength: integer({
    default: 1024,
    min: 2,
    doc: "Longest example in tokens; what is over is cut off at the end.",
  }),
  lossOn: choice({
    values: ["completion", "all"],
    default: "completion",
    doc: "Tokens that are learnt: the answers alone, or all.",
  }),
};

export type EncodingOptions = OptionValues<typeof encodingOptions>;

/** Label of a token that is not learnt. */
export const IGNORED = -100;

/** An example as tokens. */
export interface EncodedExample {
  readonly source: string;
  readonly inputIds: readonly number[];
  /** 1 for the second text of a pair; absent where there is none. */
  readonly tokenTypeIds?: readonly number[];
  /** For a language model the token itself where it is learnt, −100 elsewhere. Labels are not shifted: the model does that. Other tasks have classes. */
  readonly labels: readonly number[];
  /** Whether the labels are a text of their own, and not those of `inputIds`. */
  readonly labelsApart?: boolean;
  /** Column of the masked token that answers, where the row is a cloze. */
  readonly maskAt?: number | undefined;
  /** Number of its task, for adapters that have tasks. */
  readonly taskId?: number;
  /** Tokens that were cut off. */
  readonly truncated: number;
  /** Tokens that are learnt; the first token of a row never is, nothing predicts it. */
  readonly trained: number;
}

function commonPrefix(a: readonly number[], b: readonly number[]): number {
  let length = 0;
  while (length < a.length && length < b.length && a[length] === b[length]) length += 1;
  return length;
}

/** Ranges of tokens that are the assistant's, found by rendering the conversation up to each of its turns. */
function encodeChat(
  messages: readonly Message[],
  tokenizer: Tokenizer,
): { ids: number[]; learnt: [number, number][] } {
  const encode = (text: string): number[] => tokenizer.encode(text, { addSpecialTokens: false });
  const ids = encode(tokenizer.applyChatTemplate(messages));
  const learnt: [number, number][] = [];
  for (const [i, message] of messages.entries()) {
    if (message.role !== "assistant") continue;
    const before = encode(tokenizer.applyChatTemplate(messages.slice(0, i), { addGenerationPrompt: true }));
    const last = i === messages.length - 1;
    const after = last ? ids : encode(tokenizer.applyChatTemplate(messages.slice(0, i + 1)));
    // A token that reaches over the border carries text of the answer, so it is learnt.
    learnt.push([commonPrefix(ids, before), commonPrefix(ids, after)]);
  }
  return { ids, learnt };
}

function encodePlain(
  example: Exclude<Example, { kind: "chat" }>,
  tokenizer: Tokenizer,
): { ids: number[]; learnt: [number, number][] } {
  const end = tokenizer.eosTokenIds.slice(0, 1);
  if (example.kind === "text") {
    const ids = [...tokenizer.encode(example.text), ...end];
    return { ids, learnt: [[0, ids.length]] };
  }
  const prompt = tokenizer.encode(example.prompt);
  const ids = [...prompt, ...tokenizer.encode(example.completion, { addSpecialTokens: false }), ...end];
  return { ids, learnt: [[prompt.length, ids.length]] };
}

/**
 * An example as tokens and labels. Prompts and completions become a conversation where the tokenizer has a chat template, so
 * that the model is trained in the form it will be asked in.
 */
export function encodeExample(
  example: Example,
  tokenizer: Tokenizer,
  options: EncodingOptions,
): EncodedExample {
  const asChat =
    example.kind === "chat"
      ? example.messages
      : example.kind === "completion" && tokenizer.chatTemplate !== undefined
        ? [
            { role: "user", content: example.prompt },
            { role: "assistant", content: example.completion },
          ]
        : undefined;
  const { ids, learnt } =
    asChat === undefined
      ? encodePlain(example as Exclude<Example, { kind: "chat" }>, tokenizer)
      : encodeChat(asChat, tokenizer);
  const labels = options.lossOn === "all" ? [...ids] : ids.map(() => IGNORED);
  for (const [from, to] of learnt) for (let i = from; i < to; i += 1) labels[i] = ids[i]!;
  const kept = Math.min(ids.length, options.maxLength);
  const trained = labels.slice(1, kept).filter((label) => label !== IGNORED).length;
  return {
    source: example.source,
    inputIds: ids.slice(0, kept),
    labels: labels.slice(0, kept),
    truncated: ids.length - kept,
    trained,
  };
}
