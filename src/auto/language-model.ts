import type { TokenInputs } from "../text/collate.js";
import type { Message, Tokenizer } from "../text/tokenizer.js";
import { CachedPrograms } from "../nn/cached-program.js";
import type { PretrainedModelParts } from "./pretrained-model.js";
import { VocabularyModel } from "./vocabulary-model.js";

/** How generation begins. */
export interface GenerationStart {
  /** What the row holds before the first new token. */
  readonly tokens: readonly number[];
  /** What the row answers to, where an encoder reads it. */
  readonly source?: readonly number[];
}

/** A model that writes text. */
export abstract class LanguageModel<
  Inputs extends TokenInputs = TokenInputs,
> extends VocabularyModel<Inputs> {
  /** The whole model as one graph, for generation. */
  readonly cachedPrograms: CachedPrograms;

  constructor(parts: PretrainedModelParts) {
    super(parts);
    this.cachedPrograms = new CachedPrograms(this.runner, this.head);
  }

  override structureChanged(): void {
    super.structureChanged();
    this.cachedPrograms.invalidate();
  }

  /**
   * A conversation as the tokens that the model is asked with, the tokens of its own chat template where it has one.
   *
   * @param raw - leaves the template out
   */
  abstract encodePrompt(
    messages: readonly Message[],
    tokenizer: Tokenizer,
    options?: { readonly raw?: boolean },
  ): number[];

  /** How an answer to a prompt begins. */
  abstract startOf(prompt: readonly number[]): GenerationStart;

  /** Token ids that end an answer: those of the generation config, else of the config and the tokenizer. */
  get endTokenIds(): number[] {
    const named = this.generationConfig["eos_token_id"] ?? this.config.values["eos_token_id"];
    const ids = Array.isArray(named) ? named : [named];
    const known = ids.filter((id): id is number => typeof id === "number");
    return [...new Set([...known, ...(this.tokenizer?.eosTokenIds ?? [])])];
  }
}
