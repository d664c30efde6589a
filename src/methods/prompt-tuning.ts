import { promptOptions, promptTextOptions, promptTuningInit } from "../base/prompt-options.js";
import { beforeInput, checkedPromptSizes, promptRows, promptStart } from "../nn/prompt-start.js";
import { defineMethod } from "./method.js";

/**
 * Virtual tokens before the input, embedded by a table of their own: x ← [P; x].
 *
 * Shapes: P (n, D), x (T, D) → (n + T, D). Virtual tokens stand at positions 0 … n − 1 and have neither scores nor labels. With an encoder
 * and a decoder they stand before the source, and P has 2 n rows of which the first n are used, as in Hugging Face.
 * Adds S · n · D parameters to the model, S = 1, or 2 with encoder and decoder (`numTransformerSubmodules: 1` leaves the unused ones out). Starts as tokens that say nothing (RANDOM: N(0, 1)), as a text, or as random words; it does
 * not start as a no-op, and cannot be merged.
 * Differs from the paper: the random start is normal, as in Hugging Face, not U(±0.5).
 *
 * @example
 * const model = await getPeftModel(base, { peftType: "PROMPT_TUNING", numVirtualTokens: 10, promptTuningInit: "TEXT",
 *   promptTuningInitText: "Classify the review as positive or negative:" });
 * @see Lester et al., "The Power of Scale for Parameter-Efficient Prompt Tuning", arXiv:2104.08691
 */
export const promptTuning = defineMethod({
  name: "PROMPT_TUNING",
  title: "Prompt tuning",
  paper: "arXiv:2104.08691",
  formula: "x ← [P; x]",
  parameters: "n · D; twice that with encoder and decoder",
  advice:
    "A large model, many small tasks and one served base: 10-20 virtual tokens. Small models learn little from it.",
  sites: ["model"],
  config: { ...promptOptions, promptTuningInit, ...promptTextOptions },
  quantisedBase: true,
  inert: {},
  parameterCount: ({ site }, config) => promptRows(site, config) * site.width,
  identityStart: () => false,
  mergeable: () => false,
  attach(site, config, scope) {
    const sizes = checkedPromptSizes(site, config, { into: "input" });
    const shape = [{ symbol: "virtual tokens", size: promptRows(site, config) }, site.width];
    const start = promptStart(site, config, scope);
    const prompt = scope.param("embedding.weight", "prompt_embeddings", shape, start);
    return {
      config: sizes,
      virtual: { ...beforeInput(site, sizes, config, "first"), rows: ({ p }) => p(prompt) },
    };
  },
});
