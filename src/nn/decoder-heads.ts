import type { Value } from "../graph/value.js";
import { softCap } from "./activation.js";
import type { Backbone } from "./backbone.js";
import { Linear } from "./linear.js";
import type { RawConfig } from "./raw-config.js";
import type { Head } from "./task-model.js";
import type { Trace } from "./trace.js";

/** Makes a head for a body that has been built. */
export type HeadBuilder = (config: RawConfig, body: Backbone) => Head;

/** Scores over the vocabulary for every token, from a table of its own or from the word embeddings. */
export function languageHead(
  kind: string,
  options: { readonly tied?: boolean; readonly cap?: (config: RawConfig) => number | undefined } = {},
): HeadBuilder {
  return (config, body) => {
    const embeddings = body.wordEmbeddings();
    const tied = config.flag("tie_word_embeddings", options.tied ?? false);
    const shared = tied ? { weight: embeddings.weight } : {};
    const lm_head = new Linear(body.width, embeddings.vocabularySize, shared);
    const cap = options.cap?.(config);
    return {
      kind,
      modules: { lm_head },
      reads: "each",
      score: (t, hidden) => softCap(t.f, lm_head.forward(t, body.finish(t, hidden)), cap),
    };
  };
}

/** One linear layer over finished hidden states, with dropout before it. */
export function linearHead(
  kind: string,
  name: string,
  options: {
    readonly reads: Head["reads"];
    /** Whether the pooler of the body comes before it. */
    readonly pooled?: boolean;
    readonly bias: boolean;
    readonly outputs?: number;
    readonly prefix?: string;
    readonly dropout?: (config: RawConfig) => number;
  },
): HeadBuilder {
  return (config, body) => {
    const outputs = options.outputs ?? config.labelCount();
    const layer = new Linear(body.width, outputs, { bias: options.bias });
    const p = options.dropout?.(config) ?? 0;
    return {
      kind,
      modules: { [name]: layer },
      reads: options.reads,
      ...(options.prefix === undefined ? {} : { prefix: options.prefix }),
      score(t: Trace, hidden: Value): Value {
        const finished = body.finish(t, hidden);
        const x = options.pooled === true ? body.pool!(t, finished) : finished;
        return layer.forward(t, t.dropout(x, p));
      },
    };
  };
}

/** The first of these keys that the config has, else 0.1: how Hugging Face finds the dropout before a token classifier. */
export const classifierDropout = (config: RawConfig): number =>
  config.optional("classifier_dropout") ?? config.optional("hidden_dropout") ?? 0.1;

/** The heads that Hugging Face's decoders of the Llama kind share. */
export function decoderHeads(
  family: string,
  options: {
    readonly tied?: boolean;
    readonly cap?: (config: RawConfig) => number | undefined;
    /** The name of the body beside the head for questions; absent where there is no such head. */
    readonly questionPrefix?: string;
  } = {},
): Partial<Record<"CAUSAL_LM" | "SEQ_CLS" | "TOKEN_CLS" | "QUESTION_ANS", HeadBuilder>> {
  const question = {
    QUESTION_ANS: linearHead(`${family}ForQuestionAnswering`, "qa_outputs", {
      reads: "each",
      bias: true,
      outputs: 2,
      ...(options.questionPrefix === undefined ? {} : { prefix: options.questionPrefix }),
    }),
  };
  return {
    CAUSAL_LM: languageHead(`${family}ForCausalLM`, options),
    SEQ_CLS: linearHead(`${family}ForSequenceClassification`, "score", { reads: "last", bias: false }),
    TOKEN_CLS: linearHead(`${family}ForTokenClassification`, "score", {
      reads: "each",
      bias: true,
      dropout: classifierDropout,
    }),
    ...(options.questionPrefix === undefined ? {} : question),
  };
}
