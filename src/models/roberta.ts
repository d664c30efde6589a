import type { Value } from "../graph/value.js";
import { linearHead } from "../nn/decoder-heads.js";
import { encoderFromConfig } from "../nn/encoder-config.js";
import { Linear } from "../nn/linear.js";
import { Module } from "../nn/module.js";
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
