import { modulePattern } from "./module-pattern.js";
import { choice, integer, optionalInteger, optionalText, type OptionValues, plainRecord } from "./option.js";

/** Options of every method that puts virtual tokens before the rows; methods spread them into their config. */
export const promptOptions = {
  numVirtualTokens: integer({ default: 20, min: 1, doc: "Virtual tokens before every row, 1 or more." }),
  numLayers: optionalInteger({ min: 1, doc: "Attention layers of the model; taken from it." }),
  tokenDim: optionalInteger({ min: 1, doc: "Width of a virtual token; taken from the model." }),
  numAttentionHeads: optionalInteger({ min: 1, doc: "Heads of a layer; taken from the model." }),
  numTransformerSubmodules: optionalInteger({
    min: 1,
    max: 2,
    doc: "Stacks of layers that get virtual tokens: 1, or 2 with encoder and decoder; taken from the model.",
  }),
  modulesToSave: modulePattern({
    doc: "Modules that are trained and saved as a whole beside the virtual tokens; the head of a task is always one.",
  }),
};

/** Sizes of a model. */
export type PromptSizes = Record<
  "numLayers" | "tokenDim" | "numAttentionHeads" | "numTransformerSubmodules",
  number
>;

/** Sizes that a config states. */
export type StatedSizes = Pick<OptionValues<typeof promptOptions>, keyof PromptSizes>;

/** Options of the methods whose virtual tokens may start as tokens of the vocabulary. */
export const promptTextOptions = {
  promptTuningInitText: optionalText({
    doc: "Text that the virtual tokens start as, repeated or cut to their number, with promptTuningInit TEXT.",
  }),
  tokenizerNameOrPath: optionalText({
    doc: "Model that the tokenizer of the text belongs to: always that of the base.",
    placeholder: "<path|id>",
  }),
  tokenizerKwargs: plainRecord({
    doc: "Arguments that Hugging Face gave its tokenizer; kept in the file, not used.",
  }),
};

/** Starts of virtual tokens of the input that need nothing but the model. */
export const PROMPT_STARTS = ["RANDOM", "TEXT", "SAMPLE_VOCAB"] as const;

/** How virtual tokens of the input start. */
export const promptTuningInit = choice({
  values: PROMPT_STARTS,
  default: "RANDOM",
  doc: "How the virtual tokens start: RANDOM (normal), TEXT (as promptTuningInitText), SAMPLE_VOCAB (as random tokens).",
});
