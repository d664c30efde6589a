import type { Value } from "../graph/value.js";
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

/** y = out(tanh(dense(x))), with dropout before both. */
class ClassificationHead extends Module {
  readonly kind = "RobertaClassificationHead";
  readonly dense: Linear;
  readonly out_proj: Linear;

  constructor(
    width: number,
    labels: number,
    readonly p: number,
  ) {
    super();
    this.dense = new Linear(width, width, { bias: true });
    this.out_proj = new Linear(width, labels, { bias: true });
  }

  forward(t: Trace, x: Value): Value {
    const inner = t.f.tanh(this.dense.forward(t, t.dropout(x, this.p)));
    return this.out_proj.forward(t, t.dropout(inner, this.p));
  }
}

/** Scores over the vocabulary from norm(gelu(dense(x))). The bias of the table stands here too, where files have it. */
class MaskedHead extends Module {
  readonly kind = "RobertaLMHead";
  readonly bias: Parameter;
  readonly dense: Linear;
  readonly layer_norm: LayerNorm;
  readonly decoder: Linear;

  constructor(config: RawConfig, body: Backbone) {
    super();
    const { width } = body;
    const { vocabularySize, weight } = body.wordEmbeddings();
    const tied = config.flag("tie_word_embeddings", true) ? { weight } : {};
    this.bias = new Parameter([vocabularySize]);
    this.dense = new Linear(width, width, { bias: true });
    this.layer_norm = new LayerNorm(width, config.number("layer_norm_eps", 1e-12));
    this.decoder = new Linear(width, vocabularySize, { bias: this.bias, ...tied });
  }

  /** (R, D) → (R, V). */
  forward(t: Trace, x: Value): Value {
    const inner = t.f.gelu(this.dense.forward(t, x), { approximate: "none" });
    return this.decoder.forward(t, this.layer_norm.forward(t, inner));
  }
}

/**
 * RoBERTa: BERT with positions counted from the one after padding, and a head with a layer of its own instead of a pooler.
 *
 * @see Liu et al., "RoBERTa: A Robustly Optimized BERT Pretraining Approach", arXiv:1907.11692
 */
export const roberta = defineModel({
  modelType: "roberta",
  title: "RoBERTa",
  prefix: "roberta",
  body: (config, task) =>
    encoderFromConfig(config, {
      family: "Roberta",
      pooler: task === "FEATURE_EXTRACTION",
      padding: 1,
      firstPosition: (padding) => padding + 1,
    }),
  heads: {
    MASKED_LM: (config, body) => {
      const lm_head = new MaskedHead(config, body);
      return {
        kind: "RobertaForMaskedLM",
        modules: { lm_head },
        reads: "each",
        score: (t, hidden) => lm_head.forward(t, hidden),
      };
    },
    SEQ_CLS: (config, body) => {
      const classifier = new ClassificationHead(body.width, config.labelCount(), dropout(config));
      return {
        kind: "RobertaForSequenceClassification",
        modules: { classifier },
        reads: "first",
        score: (t, hidden) => classifier.forward(t, hidden),
      };
    },
    TOKEN_CLS: linearHead("RobertaForTokenClassification", "classifier", {
      reads: "each",
      bias: true,
      dropout,
    }),
    QUESTION_ANS: linearHead("RobertaForQuestionAnswering", "qa_outputs", {
      reads: "each",
      bias: true,
      outputs: 2,
    }),
  },
  defaultTargets: {
    LORA: ["query", "value"],
    ADALORA: ["query", "key", "value", "dense"],
    IA3: ["key", "value", "output.dense"],
    IA3_FEEDFORWARD: ["output.dense"],
    TRAINABLE_TOKENS: ["word_embeddings"],
  },
  contextLength: (config) =>
    config.count("max_position_embeddings", 512) - config.number("pad_token_id", 1) - 1,
});
