import type { Value } from "../graph/value.js";
import { withScope } from "../graph/value.js";
import { activations } from "./activation.js";
import { Linear } from "./linear.js";
import { Module } from "./module.js";
import { shareProducts } from "./product.js";
import { RMSNorm } from "./rms-norm.js";
import type { Stage } from "./stage.js";
import { TOKENS, type Trace } from "./trace.js";

/** Sizes and switches of a decoder of the Llama kind. */
export interface DecoderOptions {
  readonly width: number;
  readonly layers: number;
  readonly heads: number;
  readonly keyValueHeads: number;
  readonly headDim: number;
  readonly feedForward: number;
  readonly vocabularySize: number;
  readonly epsilon: number;
  /** Class name stem, as Hugging Face shows it: `Llama`, `Qwen2` … */
  readonly family: string;
  /** Biases of query, key and value; of the output projection; of the feed-forward layers. */
  readonly projectionBias: boolean;
  readonly outputBias: boolean;
  readonly feedForwardBias: boolean;
  /** RMS norms over each head of queries and keys. */
  readonly queryKeyNorm: boolean;
  /** Name of the activation in the feed-forward layers. */
  readonly activation: string;
  /** One projection for query, key and value, and one for gate and up. */
  readonly fused?: boolean | undefined;
  /** Norms behind attention and feed-forward as well as before them. */
  readonly normsBehind?: boolean | undefined;
  /** Added to the weights of norms. */
  readonly normOffset?: number | undefined;
  /** Factor on the word embeddings. */
  readonly embeddingScale?: number | undefined;
  /** Factor on query · key; 1/√d where absent. */
  readonly attentionScale?: number | undefined;
  /** Attention scores are bent down to this. */
  readonly attentionCap?: number | undefined;
  /** Leading part of each head that positions rotate; all of it where absent. */
  readonly rotaryDim?: number | undefined;
  /** Positions a token sees, itself included; absent where it sees all before it. */
  readonly window?: number | undefined;
  /** Layers that have the window; all where absent. */
  readonly windowLayers?: ((layer: number) => boolean) | undefined;
}

const norm = ({ epsilon, family, normOffset }: DecoderOptions, width: number): RMSNorm =>
  new RMSNorm(width, epsilon, { kind: `${family}RMSNorm`, offset: normOffset });

interface Projected {
  readonly query: Value;
  readonly key: Value;
  readonly value: Value;
}

/** Grouped-query self-attention with rotary positions: the projections around the attention proper. */
export class SelfAttention extends Module {
  readonly kind: string;
  readonly q_proj?: Linear;
  readonly k_proj?: Linear;
  readonly v_proj?: Linear;
  readonly qkv_proj?: Linear;
  readonly o_proj: Linear;
  readonly q_norm?: RMSNorm;
  readonly k_norm?: RMSNorm;

  constructor(readonly options: DecoderOptions) {
    super();
    const { width, heads, keyValueHeads, headDim, projectionBias: bias, outputBias, family } = options;
    this.kind = `${family}Attention`;
    const [queries, keys] = [heads * headDim, keyValueHeads * headDim];
    if (options.fused === true) {
      this.qkv_proj = new Linear(width, queries + 2 * keys, { bias });
    } else {
      this.q_proj = new Linear(width, queries, { bias });
      this.k_proj = new Linear(width, keys, { bias });
      this.v_proj = new Linear(width, keys, { bias });
    }
    this.o_proj = new Linear(queries, width, { bias: outputBias });
    if (options.queryKeyNorm) {
      this.q_norm = norm(options, headDim);
      this.k_norm = norm(options, headDim);
    }
  }

  #split(t: Trace, x: Value): Projected {
    const { heads, keyValueHeads, headDim } = this.options;
    if (this.qkv_proj === undefined) {
      shareProducts(t, [this.q_proj!, this.k_proj!, this.v_proj!], x);
      return {
        query: this.q_proj!.forward(t, x),
        key: this.k_proj!.forward(t, x),
        value: this.v_proj!.forward(t, x),
      };
    }
    const all = this.qkv_proj.forward(t, x);
    const [queries, keys] = [heads * headDim, keyValueHeads * headDim];
    const part = (start: number, width: number): Value =>
      t.f.slice(all, { axis: 1, start, end: start + width });
    return { query: part(0, queries), key: part(queries, keys), value: part(queries + keys, keys) };
  }

  /** x (N, D) → queries (N, H d), keys and values (N, K d), rotated by position. */
  project(t: Trace, x: Value): { query: Value; key: Value; value: Value } {
    const { heads, keyValueHeads, headDim, rotaryDim = headDim } = this.options;
    const half = rotaryDim / 2;
    const cos = t.batch("ropeCos", { dtype: "float32", shape: ["P", half] });
    const sin = t.batch("ropeSin", { dtype: "float32", shape: ["P", half] });
    const positions = t.batch("positions", { dtype: "int64", shape: [TOKENS] });
    const turn = (y: Value, count: number, own: RMSNorm | undefined): Value => {
      const normed = perHead(t, y, count, headDim, own);
      if (rotaryDim === headDim) return t.f.rotary(normed, cos, sin, positions, { heads: count });
      const split = t.f.reshape(normed, { shape: [TOKENS, count, headDim] });
      const turned = t.f.slice(split, { axis: 2, start: 0, end: rotaryDim });
      const rotated = t.f.rotary(
        t.f.reshape(turned, { shape: [TOKENS, count * rotaryDim] }),
        cos,
        sin,
        positions,
        { heads: count },
      );
      const rest = t.f.slice(split, { axis: 2, start: rotaryDim, end: headDim });
      const whole = t.f.concat([t.f.reshape(rotated, { shape: [TOKENS, count, rotaryDim] }), rest], {
        axis: 2,
      });
      return t.f.reshape(whole, { shape: [TOKENS, count * headDim] });
    };
    const { query, key, value } = this.#split(t, x);
    return { query: turn(query, heads, this.q_norm), key: turn(key, keyValueHeads, this.k_norm), value };
  }
}

/** Applies a norm to every head of y (N, heads · d). */
function perHead(t: Trace, y: Value, heads: number, headDim: number, own: RMSNorm | undefined): Value {
  if (own === undefined) return y;
  const split = t.f.reshape(y, { shape: [TOKENS, heads, headDim] });
  return t.f.reshape(own.forward(t, split), { shape: [TOKENS, heads * headDim] });
}

/** y = down(act(gate(x)) ⊙ up(x)). */
export class GatedMLP extends Module {
  readonly kind: string;
  readonly gate_proj?: Linear;
  readonly up_proj?: Linear;
  readonly gate_up_proj?: Linear;
  readonly down_proj: Linear;

  constructor(readonly options: DecoderOptions) {
    super();
    const { width, feedForward, feedForwardBias: bias, family } = options;
    this.kind = `${family}MLP`;
    if (options.fused === true) {
      this.gate_up_proj = new Linear(width, 2 * feedForward, { bias });
    } else {
      this.gate_proj = new Linear(width, feedForward, { bias });
      this.up_proj = new Linear(width, feedForward, { bias });
    }
    this.down_proj = new Linear(feedForward, width, { bias });
  }

  forward(t: Trace, x: Value): Value {
    const { feedForward, activation } = this.options;
    if (this.gate_up_proj === undefined) shareProducts(t, [this.gate_proj!, this.up_proj!], x);
    const both = this.gate_up_proj?.forward(t, x);
    const half = (start: number): Value => t.f.slice(both!, { axis: 1, start, end: start + feedForward });
    const gate = both === undefined ? this.gate_proj!.forward(t, x) : half(0); // (N, F)
    const up = both === undefined ? this.up_proj!.forward(t, x) : half(feedForward);
    return this.down_proj.forward(t, t.f.mul(activations[activation]!(t.f, gate), up)); // (N, D)
  }
}

/** One block: h + attention(norm(h)), then h + mlp(norm(h)), with norms behind both where the model has them. */
export class DecoderLayer extends Module {
  readonly kind: string;
  readonly self_attn: SelfAttention;
  readonly mlp: GatedMLP;
  readonly input_layernorm: RMSNorm;
  readonly post_attention_layernorm: RMSNorm;
  readonly pre_feedforward_layernorm?: RMSNorm;
  readonly post_feedforward_layernorm?: RMSNorm;

  constructor(
    readonly options: DecoderOptions,
    layer: number,
  ) {
    super();
    const { width, family } = options;
    this.kind = `${family}DecoderLayer`;
    this.self_attn = new SelfAttention(options);
    this.mlp = new GatedMLP(options);
    this.self_attn.joins = { position: "attention", layer, width, normed: false, slot: "attention_adapters" };
    this.mlp.joins = { position: "output", layer, width, normed: false, slot: "output_adapters" };
    this.input_layernorm = norm(options, width);
    this.post_attention_layernorm = norm(options, width);
    if (options.normsBehind === true) {
      this.pre_feedforward_layernorm = norm(options, width);
      this.post_feedforward_layernorm = norm(options, width);
    }
  }

  /** h (N, D) and the context of the attention (N, H d) → h of the next block. */
  #finish(t: Trace, hidden: Value, context: Value): Value {
    const attention = this.self_attn.o_proj.forward(t, context); // (N, D)
    const { pre_feedforward_layernorm: before, post_feedforward_layernorm: behind } = this;
    if (before === undefined || behind === undefined) {
      const attended = t.join(this.self_attn, attention, hidden);
      const x = this.post_attention_layernorm.forward(t, attended);
      return t.join(this.mlp, this.mlp.forward(t, x), attended);
    }
    const attended = t.join(this.self_attn, this.post_attention_layernorm.forward(t, attention), hidden);
    const output = behind.forward(t, this.mlp.forward(t, before.forward(t, attended)));
    return t.join(this.mlp, output, attended);
  }

  /** The stages of layer number `layer`. */
  stages(layer: number): Stage[] {
    const { width, heads, keyValueHeads, headDim, window, windowLayers } = this.options;
    const scope = "layer";
    return [
      {
        kind: "tokens",
        name: `layers.${layer}.attention_in`,
        reads: { hidden: width },
        writes: { query: heads * headDim, key: keyValueHeads * headDim, value: keyValueHeads * headDim },
        trace: (t, { hidden }) =>
          withScope(scope, () => this.self_attn.project(t, this.input_layernorm.forward(t, hidden!))),
      },
      {
        kind: "attention",
        name: `layers.${layer}.attention`,
        layer,
        heads,
        keyValueHeads,
        headDim,
        scale: this.options.attentionScale ?? 1 / Math.sqrt(headDim),
        cap: this.options.attentionCap,
        causal: true,
        window: windowLayers === undefined || windowLayers(layer) ? window : undefined,
      },
      {
        kind: "tokens",
        name: `layers.${layer}.attention_out_mlp`,
        reads: { hidden: width, context: heads * headDim },
        writes: { hidden: width },
        trace: (t, { hidden, context }) =>
          withScope(scope, () => ({ hidden: this.#finish(t, hidden!, context!) })),
      },
    ];
  }
}
