import type { Value } from "../graph/value.js";
import { activationNames, activations } from "../nn/activation.js";
import type { Backbone } from "../nn/backbone.js";
import { linearHead } from "../nn/decoder-heads.js";
import { encoderFromConfig } from "../nn/encoder-config.js";
import { LayerNorm } from "../nn/layer-norm.js";
import { Linear } from "../nn/linear.js";
import { Module } from "../nn/module.js";
import { Parameter } from "../nn/parameter.js";
import type { RawConfig } from "../nn/raw-config.js";
import type { Trace } from "../nn/trace.js";
import { defineModel } from "./model.js";

const dropout = (config: RawConfig): number =>
  config.optional("classifier_dropout") ?? config.number("hidden_dropout_prob", 0.1);

/** y = norm(act(dense(x))). */
class Transform extends Module {
  readonly kind = "BertPredictionHeadTransform";
  readonly dense: Linear;
  readonly LayerNorm: LayerNorm;
  readonly #activation: string;

  constructor(config: RawConfig, width: number) {
    super();
    this.#activation = config.choice("hidden_act", activationNames, "gelu");
    this.dense = new Linear(width, width, { bias: true });
    this.LayerNorm = new LayerNorm(width, config.number("layer_norm_eps", 1e-12));
  }

  forward(t: Trace, x: Value): Value {
    return this.LayerNorm.forward(t, activations[this.#activation]!(t.f, this.dense.forward(t, x)));
  }
}

/** Scores over the vocabulary. The bias of the table stands at its holder too, which files name it after. */
class Predictions extends Module {
  readonly kind = "BertLMPredictionHead";
  readonly bias: Parameter;
  readonly transform: Transform;
  readonly decoder: Linear;

  constructor(config: RawConfig, body: Backbone) {
    super();
    const { vocabularySize, weight } = body.wordEmbeddings();
    const tied = config.flag("tie_word_embeddings", true) ? { weight } : {};
    this.bias = new Parameter([vocabularySize]);
    this.transform = new Transform(config, body.width);
    this.decoder = new Linear(body.width, vocabularySize, { bias: this.bias, ...tied });
  }
}

class MaskedHead extends Module {
  readonly kind = "BertOnlyMLMHead";
  readonly predictions: Predictions;

  constructor(config: RawConfig, body: Backbone) {
    super();
    this.predictions = new Predictions(config, body);
  }

  /** (R, D) → (R, V). */
  forward(t: Trace, x: Value): Value {
    const { transform, decoder } = this.predictions;
    return decoder.forward(t, transform.forward(t, x));
  }
}

/**
 * BERT, MiniLM and whatever else says `model_type: "bert"`.
 *
 * @see Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers", arXiv:1810.04805, §3
 */
export const bert = defineModel({
  modelType: "bert",
  title: "BERT",
  prefix: "bert",
  body: (config, task) =>
    encoderFromConfig(config, {
      family: "Bert",
      pooler: task === "SEQ_CLS" || task === "FEATURE_EXTRACTION",
    }),
  heads: {
    MASKED_LM: (config, body) => {
      const cls = new MaskedHead(config, body);
      return {
        kind: "BertForMaskedLM",
        modules: { cls },
        reads: "each",
        score: (t, hidden) => cls.forward(t, hidden),
      };
    },
    SEQ_CLS: linearHead("BertForSequenceClassification", "classifier", {
      reads: "first",
      pooled: true,
      bias: true,
      dropout,
    }),
    TOKEN_CLS: linearHead("BertForTokenClassification", "classifier", { reads: "each", bias: true, dropout }),
    QUESTION_ANS: linearHead("BertForQuestionAnswering", "qa_outputs", {
      reads: "each",
      bias: true,
      outputs: 2,
    }),
  },
  defaultTargets: {
    LORA: ["query", "value"],
    IA3: ["key", "value", "output.dense"],
    IA3_FEEDFORWARD: ["output.dense"],
    TRAINABLE_TOKENS: ["word_embeddings"],
  },
  contextLength: (config) => config.count("max_position_embeddings", 512),
});
