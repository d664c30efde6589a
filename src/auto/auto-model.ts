import { ConfigError } from "../base/errors.js";
import { openCheckpoint } from "../files/checkpoint.js";
import { resolveModel } from "../files/hub.js";
import { type Tokenizer, tokenizerFromFiles } from "../text/tokenizer.js";
import { CausalLanguageModel } from "./causal-language-model.js";
import {
  buildFromConfig,
  type FromConfigOptions,
  type FromPretrainedOptions,
  openPretrained,
} from "./open-pretrained.js";

/** A tokenizer from a model folder, a GGUF file or a Hub id. */
export const AutoTokenizer = {
  /**
   * @example
   * const tokenizer = await AutoTokenizer.fromPretrained("embedded");
   */
  async fromPretrained(
    idOrPath: string,
    options: { readonly revision?: string; readonly signal?: AbortSignal } = {},
  ): Promise<Tokenizer> {
    const checkpoint = await openCheckpoint(await resolveModel(idOrPath, options));
    try {
      const files = checkpoint.tokenizerFiles();
      if (files !== undefined) return tokenizerFromFiles(files);
      throw new ConfigError({
        code: "tokenizer_missing",
        summary: `${idOrPath} holds no tokenizer.`,
        fixes: ["put tokenizer.json and tokenizer_config.json beside the weights"],
        fields: { path: idOrPath },
      });
    } finally {
      checkpoint.close();
    }
  },
};

/** Causal language models. */
export const AutoModelForCausalLM = {
  /**
   * Opens a model from a Hugging Face folder, a `.gguf` file, or a Hub id. Weights stay in the mapped file until they are used.
   *
   * @throws {@link ConfigError} for an unknown `model_type` or a config that no model can be built from
   * @throws {@link CheckpointError} for absent or damaged files, and tensors that do not fit
   * @example
   * const model = await AutoModelForCausalLM.fromPretrained("SmolLM2-135M-Instruct.Q4_1.gguf");
   */
  async fromPretrained(idOrPath: string, options: FromPretrainedOptions = {}): Promise<CausalLanguageModel> {
    return new CausalLanguageModel(await openPretrained(idOrPath, { task: "CAUSAL_LM" }, options));
  },

  /**
   * A model with random weights, to be trained from nothing.
   *
   * @example
   * const model = await AutoModelForCausalLM.fromConfig(config, { seed: 0 });
   * model.setTrainable(true);
   */
  async fromConfig(
    values: Readonly<Record<string, unknown>>,
    options: FromConfigOptions = {},
  ): Promise<CausalLanguageModel> {
    return new CausalLanguageModel(await buildFromConfig(values, "CAUSAL_LM", options));
  },
};
