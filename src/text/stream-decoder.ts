import type { Tokenizer } from "./tokenizer.js";

/** Turns tokens into text as they come. */
export interface StreamDecoder {
  /** Text that is certain with this token; empty while a character is not whole. */
  push(id: number): string;
  /** What is left, whole or not. */
  end(): string;
}

/** Tokens kept as context, so that decoders that look at the token before give the same text as for the whole. */
const CONTEXT = 4;

/**
 * Decodes token by token and holds back characters of which bytes are missing.
 *
 * @example
 * const decoder = createStreamDecoder(tokenizer);
 * for (const id of ids) process.stdout.write(decoder.push(id));
 * process.stdout.write(decoder.end());
 */
export function createStreamDecoder(tokenizer: Tokenizer): StreamDecoder {
  let context: number[] = [];
  let pending: number[] = [];
  const fresh = (): string => {
    const before = tokenizer.decode(context);
    return tokenizer.decode([...context, ...pending]).slice(before.length);
  };
  return {
    push(id) {
      pending.push(id);
      const text = fresh();
      // A replacement character at the end is most likely a character of which bytes are still to come.
      if (text.endsWith("\uFFFD") && pending.length < 8) return "";
      context = [...context, ...pending].slice(-CONTEXT);
      pending = [];
      return text;
    },
    end() {
      const text = pending.length === 0 ? "" : fresh();
      context = [];
      pending = [];
      return text;
    },
  };
}
