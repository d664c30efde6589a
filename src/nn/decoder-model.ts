import type { Value } from "../graph/value.js";
import { type HostTensor, hostTensor } from "../base/host-tensor.js";
import { DecoderLayer, type DecoderOptions } from "./decoder-layer.js";
import { Embedding } from "./embedding.js";
import { Linear } from "./linear.js";
import { Module, nameTree } from "./module.js";
import { RMSNorm } from "./rms-norm.js";
import { type RopeOptions, RopeTables } from "./rope.js";
import type { Stage, StagedModel, TokenBatch } from "./stage.js";
import { TOKENS, type Trace } from "./trace.js";

/** Embedding, blocks and final norm. */
class Decoder extends Module {
  readonly kind: string;
  readonly embed_tokens: Embedding;
  readonly layers: DecoderLayer[];
  readonly norm: RMSNorm;

  constructor(options: DecoderOptions) {
    super();
    this.kind = `${options.family}Model`;
    this.embed_tokens = new Embedding(options.vocabularySize, options.width);
    this.layers = Array.from({ length: options.layers }, () => new DecoderLayer(options));
    this.norm = new RMSNorm(options.width, options.epsilon, `${options.family}RMSNorm`);
  }
}

/** A causal language model of the Llama kind. */
export class DecoderForCausalLM extends Module implements StagedModel {
  readonly kind: string;
  readonly model: Decoder;
  readonly lm_head: Linear;
  readonly hidden: { stream: string; width: number };
  readonly #rope: RopeTables;

  constructor(
    readonly options: DecoderOptions & { readonly tiedHead: boolean },
    rope: RopeOptions,
  ) {
    super();
    this.kind = `${options.family}ForCausalLM`;
    this.model = new Decoder(options);
    const tied = options.tiedHead ? { weight: this.model.embed_tokens.weight } : {};
    this.lm_head = new Linear(options.width, options.vocabularySize, tied);
    this.hidden = { stream: "hidden", width: options.width };
    this.#rope = new RopeTables(rope);
    nameTree(this);
  }

  get cacheLimit(): number {
    const { scaling } = this.#rope.options;
    return scaling.kind === "dynamic" ? scaling.trainedLength : Infinity;
  }

  get inputEmbedding(): Embedding {
    return this.model.embed_tokens;
  }

  get stages(): Stage[] {
    const embed: Stage = {
      kind: "tokens",
      name: "embed_tokens",
      reads: {},
      writes: { hidden: this.options.width },
      trace: (t) => ({
        hidden: this.model.embed_tokens.forward(t, t.batch("tokens", { dtype: "int64", shape: [TOKENS] })),
      }),
    };
    return [embed, ...this.model.layers.flatMap((layer, i) => layer.stages(i))];
  }

  head(t: Trace, hidden: Value): Value {
    return this.lm_head.forward(t, this.model.norm.forward(t, hidden));
  }

  batchTensors({ tokens, positions }: TokenBatch): Record<string, HostTensor> {
    const longest = positions.reduce((most, position) => Math.max(most, position), 0) + 1;
    const { cos, sin } = this.#rope.upTo(longest, tokens.length);
    const wide = (values: Int32Array): HostTensor =>
      hostTensor(
        "int64",
        [values.length],
        BigInt64Array.from(values, (value) => BigInt(value)),
      );
    return { tokens: wide(tokens), positions: wide(positions), ropeCos: cos, ropeSin: sin };
  }
}
