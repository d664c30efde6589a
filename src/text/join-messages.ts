import type { Message } from "./tokenizer.js";

/** A conversation as one text. */
export const joinMessages = (messages: readonly Message[]): string =>
  messages.map(({ content }) => content).join("\n");
