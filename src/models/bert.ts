import { linearHead } from "../nn/decoder-heads.js";
import { encoderFromConfig } from "../nn/encoder-config.js";
import type { RawConfig } from "../nn/raw-config.js";
import { defineModel } from "./model.js";

const dropout = (config: RawConfig): number =>
  config.optional("classifier_dropout") ?? config.number("hidden_dropout_prob", 0.1);

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
