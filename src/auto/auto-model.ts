import { ConfigError } from "../base/errors.js";
import { openCheckpoint } from "../files/checkpoint.js";
import { resolveModel } from "../files/hub.js";
import { type Tokenizer, tokenizerFromFiles } from "../text/tokenizer.js";
import { CausalLanguageModel } from "./causal-language-model.js";
import { FeatureExtractor } from "./feature-extractor.js";
import {
  buildFromConfig,
  type FromConfigOptions,
  type FromPretrainedOptions,
  openPretrained,
} from "./open-pretrained.js";
import { labelConfig, type LabelOptions } from "./label-options.js";
import { MaskedLanguageModel } from "./masked-language-model.js";
import type { PretrainedModelParts } from "./pretrained-model.js";
import type { TaskType } from "../models/model.js";
import { QuestionAnswerer } from "./question-answerer.js";
import { Seq2SeqLanguageModel } from "./seq2seq-language-model.js";
import { SequenceClassifier } from "./sequence-classifier.js";
import { TokenClassifier } from "./token-classifier.js";

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

/**
 * Encoders with a decoder that write answers, such as T5.
 *
 * @example
 * const model = await AutoModelForSeq2SeqLM.fromPretrained("flan-t5-small");
 * const { loss } = await model.forward({ inputIds: [[21820, 296, 1]], labels: [[1712, 1]] });
 */
export const AutoModelForSeq2SeqLM = {
  /**
   * Opens a model from a Hugging Face folder or a Hub id.
   *
   * @throws {@link UnsupportedError} `task_unsupported` for an architecture without encoder and decoder
   */
  async fromPretrained(idOrPath: string, options: FromPretrainedOptions = {}): Promise<Seq2SeqLanguageModel> {
    return new Seq2SeqLanguageModel(await openPretrained(idOrPath, { task: "SEQ_2_SEQ_LM" }, options));
  },

  /** A model with random weights, to be trained from nothing. */
  async fromConfig(
    values: Readonly<Record<string, unknown>>,
    options: FromConfigOptions = {},
  ): Promise<Seq2SeqLanguageModel> {
    return new Seq2SeqLanguageModel(await buildFromConfig(values, "SEQ_2_SEQ_LM", options));
  },
};

/**
 * Masked language models: encoders with the head that they were trained with.
 *
 * @example
 * const model = await AutoModelForMaskedLM.fromPretrained("bert-base-uncased");
 * const { logits, loss } = await model.forward({ inputIds: [[101, 103, 102]], labels: [[-100, 7592, -100]] });
 */
export const AutoModelForMaskedLM = {
  /**
   * Opens a model from a Hugging Face folder or a Hub id.
   *
   * @throws {@link UnsupportedError} `task_unsupported` for an architecture without such a head
   * @throws {@link CheckpointError} `head_missing` where the checkpoint has none: this head is never new
   */
  async fromPretrained(idOrPath: string, options: FromPretrainedOptions = {}): Promise<MaskedLanguageModel> {
    return new MaskedLanguageModel(await openPretrained(idOrPath, { task: "MASKED_LM" }, options));
  },

  /** A model with random weights, to be trained from nothing. */
  async fromConfig(
    values: Readonly<Record<string, unknown>>,
    options: FromConfigOptions = {},
  ): Promise<MaskedLanguageModel> {
    return new MaskedLanguageModel(await buildFromConfig(values, "MASKED_LM", options));
  },
};

/** Options of a model with labels. */
export type ClassifierOptions = FromPretrainedOptions & LabelOptions;

/** Opens and builds models of one task. */
function autoModel<M>(task: TaskType, create: (parts: PretrainedModelParts) => M) {
  return {
    async fromPretrained(idOrPath: string, options: ClassifierOptions = {}): Promise<M> {
      return create(await openPretrained(idOrPath, { task, config: labelConfig(options) }, options));
    },
    async fromConfig(
      values: Readonly<Record<string, unknown>>,
      options: FromConfigOptions & LabelOptions = {},
    ): Promise<M> {
      return create(await buildFromConfig({ ...values, ...labelConfig(options) }, task, options));
    },
  };
}

/**
 * Classifiers of whole texts. A head that the checkpoint does not have starts at random, with a warning.
 *
 * @throws {@link ConfigError} for an unknown `model_type`, labels that contradict each other, or a config no model can be built from
 * @throws {@link UnsupportedError} `task_unsupported` for an architecture without such a head
 * @example
 * const model = await AutoModelForSequenceClassification.fromPretrained("minilm", { id2label: ["bad", "good"] });
 */
export const AutoModelForSequenceClassification = autoModel(
  "SEQ_CLS",
  (parts) => new SequenceClassifier(parts),
);

/**
 * Classifiers of tokens.
 *
 * @example
 * const model = await AutoModelForTokenClassification.fromPretrained("bert", { id2label: ["O", "B-PER", "I-PER"] });
 */
export const AutoModelForTokenClassification = autoModel("TOKEN_CLS", (parts) => new TokenClassifier(parts));

/**
 * Models that find the answer to a question in a text.
 *
 * @example
 * const model = await AutoModelForQuestionAnswering.fromPretrained("bert");
 */
export const AutoModelForQuestionAnswering = autoModel(
  "QUESTION_ANS",
  (parts) => new QuestionAnswerer(parts),
);

/**
 * Bodies without a head, for hidden states and embeddings.
 *
 * @example
 * const model = await AutoModel.fromPretrained("minilm");
 * const { data } = await model.embed({ inputIds: [[101, 7592, 102]] });
 */
export const AutoModel = autoModel("FEATURE_EXTRACTION", (parts) => new FeatureExtractor(parts));

/** Models by task. */
export const autoModels = {
  CAUSAL_LM: AutoModelForCausalLM,
  SEQ_2_SEQ_LM: AutoModelForSeq2SeqLM,
  MASKED_LM: AutoModelForMaskedLM,
  SEQ_CLS: AutoModelForSequenceClassification,
  TOKEN_CLS: AutoModelForTokenClassification,
  QUESTION_ANS: AutoModelForQuestionAnswering,
  FEATURE_EXTRACTION: AutoModel,
};
