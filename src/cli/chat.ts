import { createInterface } from "node:readline";
import type { LanguageModel } from "../auto/language-model.js";
import { generateTokens, type Generated, type GenerationOptions } from "../auto/generate.js";
import { ConfigError } from "../base/errors.js";
import type { Message, Tokenizer } from "../text/tokenizer.js";
import type { Terminal } from "./terminal.js";

/** The tokenizer of a model that is asked for text. */
export function tokenizerOf(model: LanguageModel): Tokenizer {
  if (model.tokenizer !== undefined) return model.tokenizer;
  throw new ConfigError({
    code: "tokenizer_missing",
    summary: `${model.name} holds no tokenizer, so it cannot be asked in text.`,
    fixes: ["put tokenizer.json and tokenizer_config.json beside the weights"],
    fields: { model: model.name },
  });
}

/** A prompt as tokens: a conversation where the model has a chat template, plain text otherwise. */
export function promptTokens(model: LanguageModel, messages: readonly Message[], raw: boolean): number[] {
  return model.encodePrompt(messages, tokenizerOf(model), { raw });
}

/** Answers one prompt, writing the text as it comes. */
export async function streamAnswer(
  model: LanguageModel,
  prompt: readonly number[],
  options: GenerationOptions,
  terminal: Terminal,
): Promise<Generated> {
  const pieces = generateTokens(model, [prompt], options);
  for (;;) {
    const step = await pieces.next();
    if (step.done === true) return step.value[0]!;
    terminal.write(step.value.text);
  }
}

/** A conversation at the terminal, until an empty line, Ctrl-D or Ctrl-C. */
export async function chat(
  model: LanguageModel,
  options: GenerationOptions,
  terminal: Terminal,
): Promise<void> {
  const { signal } = options;
  const input = createInterface({ input: process.stdin, output: process.stderr, prompt: "> ", signal });
  // A terminal that is edited on tells of Ctrl-C here alone.
  input.on("SIGINT", () => process.emit("SIGINT"));
  const messages: Message[] = [];
  terminal.note(`Chat with ${model.name}. An empty line ends it.`);
  input.prompt();
  try {
    // Lines that come while an answer is written wait for their turn.
    for await (const content of input) {
      if (content.trim() === "") break;
      messages.push({ role: "user", content });
      const answer = await streamAnswer(model, promptTokens(model, messages, false), options, terminal);
      terminal.line();
      messages.push({ role: "assistant", content: answer.text });
      input.prompt();
    }
  } catch (error) {
    if ((error as Error).name !== "AbortError") throw error;
  } finally {
    input.close();
  }
}
