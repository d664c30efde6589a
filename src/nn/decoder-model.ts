import type { Value } from "../graph/value.js";
import type { HostTensor } from "../base/host-tensor.js";
import type { Backbone } from "./backbone.js";
import { DecoderLayer, type DecoderOptions } from "./decoder-layer.js";
import { Embedding } from "./embedding.js";
import { int64Tensor } from "./graph-runner.js";
import { Module } from "./module.js";
import { RMSNorm } from "./rms-norm.js";
import { type RopeOptions, RopeTables } from "./rope.js";
import type { Stage, TokenBatch } from "./stage.js";
import { TOKENS, type Trace } from "./trace.js";

/** The body of the Llama kind: embedding, blocks and final norm. */
export class Decoder extends Module implements Backbone {
  readonly kind: string;
  readonly embed_tokens: Embedding;
  readonly layers: DecoderLayer[];
  readonly norm: RMSNorm;
  readonly width: number;
  readonly #rope: RopeTables;

  constructor(
    readonly options: DecoderOptions,
    rope: RopeOptions,
  ) {
    super();
    this.kind = `${options.family}Model`;
    this.width = options.width;
    this.embed_tokens = new Embedding(options.vocabularySize, options.width, {
      scale: options.embeddingScale,
    });
    this.layers = Array.from({ length: options.layers }, (_, layer) => new DecoderLayer(options, layer));
    this.norm = new RMSNorm(options.width, options.epsilon, {
      kind: `${options.family}RMSNorm`,
      offset: options.normOffset,
    });
    this.#rope = new RopeTables(rope);
  }

  get cacheLimit(): number {
    const { scaling } = this.#rope.options;
    return scaling.kind === "dynamic" || scaling.kind === "longrope" ? scaling.trainedLength : Infinity;
  }

  get stages(): Stage[] {
    const embed: Stage = {
      kind: "tokens",
      name: "embed_tokens",
      reads: {},
      writes: { hidden: this.options.width },
      trace: (t) => ({
        hidden: this.embed_tokens.forward(t, t.batch("tokens", { dtype: "int64", shape: [TOKENS] })),
      }),
    };
    return [embed, ...this.layers.flatMap((layer, i) => layer.stages(i))];
  }

  wordEmbeddings(): Embedding {
    return this.embed_tokens;
  }

  finish(t: Trace, hidden: Value): Value {
    return this.norm.forward(t, hidden);
  }

  batchTensors({ tokens, positions }: TokenBatch): Record<string, HostTensor> {
    const longest = positions.reduce((most, position) => Math.max(most, position), 0) + 1;
    const { cos, sin } = this.#rope.upTo(longest, tokens.length);
    return { tokens: int64Tensor(tokens), positions: int64Tensor(positions), ropeCos: cos, ropeSin: sin };
  }
}
