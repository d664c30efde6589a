import { type Value, withScope } from "../graph/value.js";
import { Embedding } from "../nn/embedding.js";
import { Module } from "../nn/module.js";
import type { Parameter } from "../nn/parameter.js";
import { relativeBucket } from "../nn/relative-bias.js";
import type { RMSNorm } from "../nn/rms-norm.js";
import type { AttentionStage, Over, RelativeBias, Stage } from "../nn/stage.js";
import { TOKENS, type Trace } from "../nn/trace.js";
import { CrossAttention, FeedForward, norm, SelfAttention, type T5Options } from "./t5-layers.js";

/** What the stages of a block have to know of where it stands. */
interface Place {
  readonly name: string;
  readonly over: Over;
  readonly bias: RelativeBias;
  /** Numbers of its attention layers. */
  readonly layer: number;
  readonly crossLayer: number;
}

/** One block: h + attention(norm(h)), in the decoder h + cross-attention(norm(h)), then h + feed-forward(norm(h)). */
class Block extends Module {
  readonly kind = "T5Block";
  readonly layer: readonly Module[];
  readonly #self: SelfAttention;
  readonly #cross: CrossAttention | undefined;
  readonly #dense: FeedForward;

  constructor(
    readonly options: T5Options,
    traits: { readonly hasBias: boolean; readonly decodes: boolean; readonly number: number },
  ) {
    super();
    this.#self = new SelfAttention(options, traits.hasBias);
    this.#cross = traits.decodes ? new CrossAttention(options) : undefined;
    this.#dense = new FeedForward(options);
    const place = { layer: traits.number, width: options.width, normed: false };
    this.#self.joins = { position: "attention", ...place };
    if (this.#cross !== undefined) this.#cross.joins = { position: "cross", ...place };
    this.#dense.joins = { position: "output", ...place };
    this.layer = [this.#self, ...(this.#cross === undefined ? [] : [this.#cross]), this.#dense];
  }

  #attention(name: string, layer: number): AttentionStage {
    const { heads, headDim } = this.options;
    return {
      kind: "attention",
      name,
      layer,
      heads,
      keyValueHeads: heads,
      headDim,
      // The start of the weights makes up for the missing 1/√d.
      scale: 1,
      causal: false,
    };
  }

  stages({ name, over, bias, layer, crossLayer }: Place): Stage[] {
    const { width, heads, headDim } = this.options;
    const inner = heads * headDim;
    const { SelfAttention: own, layer_norm: before } = this.#self;
    const within = <T>(trace: () => T): T => withScope("block", trace);
    const start: Stage[] = [
      {
        kind: "tokens",
        name: `${name}.attention_in`,
        over,
        reads: { hidden: width },
        writes: { query: inner, key: inner, value: inner },
        trace: (t, { hidden }) =>
          within(() => {
            const x = before.forward(t, hidden!);
            return { query: own.q.forward(t, x), key: own.k.forward(t, x), value: own.v.forward(t, x) };
          }),
      },
      { ...this.#attention(`${name}.attention`, layer), over, bias, causal: this.#cross !== undefined },
    ];
    const end: Stage = {
      kind: "tokens",
      name: `${name}.attention_out_mlp`,
      over,
      reads: { hidden: width, context: inner },
      writes: { hidden: width },
      trace: (t, { hidden, context }) =>
        within(() => ({
          hidden: this.#dense.forward(t, this.#attended(t, hidden!, context!)),
        })),
    };
    return [...start, ...this.#crossStages(name, crossLayer), end];
  }

  /** What the last attention adds to the residual stream: that of the source, where there is one. */
  #attended(t: Trace, hidden: Value, context: Value): Value {
    const output = this.#cross?.EncDecAttention.o ?? this.#self.SelfAttention.o;
    return t.join(this.#cross ?? this.#self, output.forward(t, context), hidden); // (N, D)
  }

  #crossStages(name: string, layer: number): Stage[] {
    if (this.#cross === undefined) return [];
    const { width, heads, headDim } = this.options;
    const inner = heads * headDim;
    const { EncDecAttention: cross, layer_norm: before } = this.#cross;
    const { o } = this.#self.SelfAttention;
    return [
      {
        kind: "tokens",
        name: `${name}.cross_in`,
        reads: { hidden: width, context: inner },
        writes: { hidden: width, query: inner },
        trace: (t, { hidden, context }) =>
          withScope("block", () => {
            const attended = t.join(this.#self, o.forward(t, context!), hidden!); // (N, D)
            return { hidden: attended, query: cross.q.forward(t, before.forward(t, attended)) };
          }),
      },
      {
        kind: "tokens",
        name: `${name}.cross_keys`,
        over: "source",
        reads: { memory: width },
        writes: { key: inner, value: inner },
        trace: (t, { memory }) =>
          withScope("block", () => ({
            key: cross.k.forward(t, memory!),
            value: cross.v.forward(t, memory!),
          })),
      },
      { ...this.#attention(`${name}.cross_attention`, layer), keysOver: "source" },
    ];
  }
}

/** The blocks of the encoder or of the decoder. */
export class T5Stack extends Module {
  readonly kind = "T5Stack";
  readonly embed_tokens: Embedding;
  readonly block: readonly Block[];
  readonly final_layer_norm: RMSNorm;
  readonly #bias: Embedding;

  constructor(
    readonly options: T5Options,
    weight: Parameter,
    readonly role: "encoder" | "decoder",
  ) {
    super();
    const { vocabularySize, width, layers, decoderLayers } = options;
    const decodes = role === "decoder";
    this.embed_tokens = new Embedding(vocabularySize, width, { weight });
    // The first block holds the biases of all.
    this.block = Array.from(
      { length: decodes ? decoderLayers : layers },
      (_, i) => new Block(options, { hasBias: i === 0, decodes, number: decodes ? layers + i : i }),
    );
    this.final_layer_norm = norm(options);
    const [first] = this.block[0]!.layer as [SelfAttention];
    this.#bias = first.SelfAttention.relative_attention_bias!;
  }

  /** @param firstLayer - number of the first attention layer; cross-attention is counted behind self-attention. */
  stages(firstLayer: number): Stage[] {
    const { role } = this;
    const { width, heads, buckets, maxDistance } = this.options;
    const over = role === "encoder" ? "source" : "batch";
    const stream = `${role}_position_bias`;
    const settings = { buckets, maxDistance, bidirectional: role === "encoder" };
    const bias = { stream, buckets, bucket: (offset: number) => relativeBucket(offset, settings) };
    return [
      {
        kind: "tokens",
        name: `${role}.embed_tokens`,
        over,
        reads: {},
        writes: { hidden: width },
        trace: (t) => ({
          hidden: this.embed_tokens.forward(t, t.batch("tokens", { dtype: "int64", shape: [TOKENS] })),
        }),
      },
      {
        kind: "tokens",
        name: `${role}.position_bias`,
        over,
        reads: {},
        writes: { [stream]: heads },
        rows: buckets,
        trace: (t) => ({
          [stream]: this.#bias.forward(t, t.batch("buckets", { dtype: "int64", shape: [buckets] })),
        }),
      },
      ...this.block.flatMap((block, i) =>
        block.stages({
          name: `${role}.block.${i}`,
          over,
          bias,
          layer: firstLayer + i,
          crossLayer: firstLayer + this.block.length + i,
        }),
      ),
    ];
  }
}
