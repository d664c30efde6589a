import type { Value } from "../graph/value.js";
import { withScope } from "../graph/value.js";
import { Linear } from "./linear.js";
import { Module } from "./module.js";
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
  /** Positions a token sees, itself included; absent where it sees all before it. */
  readonly window?: number | undefined;
  /** Layers that have the window; all where absent. */
  readonly windowLayers?: ((layer: number) => boolean) | undefined;
}

/** Grouped-query self-attention with rotary positions: the projections around the attention proper. */
export class SelfAttention extends Module {
  readonly kind: string;
  readonly q_proj: Linear;
  readonly k_proj: Linear;
  readonly v_proj: Linear;
  readonly o_proj: Linear;
  readonly q_norm?: RMSNorm;
  readonly k_norm?: RMSNorm;

  constructor(readonly options: DecoderOptions) {
    super();
    const {
      width,
      heads,
      keyValueHeads,
      headDim,
      projectionBias: bias,
      outputBias,
      family,
      epsilon,
    } = options;
    this.kind = `${family}Attention`;
    this.q_proj = new Linear(width, heads * headDim, { bias });
    this.k_proj = new Linear(width, keyValueHeads * headDim, { bias });
    this.v_proj = new Linear(width, keyValueHeads * headDim, { bias });
    this.o_proj = new Linear(heads * headDim, width, { bias: outputBias });
    if (options.queryKeyNorm) {
      this.q_norm = new RMSNorm(headDim, epsilon, `${family}RMSNorm`);
      this.k_norm = new RMSNorm(headDim, epsilon, `${family}RMSNorm`);
    }
  }

  /** x (N, D) → queries (N, H d), keys and values (N, K d), rotated by position. */
  project(t: Trace, x: Value): { query: Value; key: Value; value: Value } {
    const { heads, keyValueHeads, headDim } = this.options;
    const half = headDim / 2;
    const cos = t.batch("ropeCos", { dtype: "float32", shape: ["P", half] });
    const sin = t.batch("ropeSin", { dtype: "float32", shape: ["P", half] });
    const positions = t.batch("positions", { dtype: "int64", shape: [TOKENS] });
    const turn = (y: Value, count: number, norm: RMSNorm | undefined): Value =>
      t.f.rotary(perHead(t, y, count, headDim, norm), cos, sin, positions, { heads: count });
    return {
      query: turn(this.q_proj.forward(t, x), heads, this.q_norm),
      key: turn(this.k_proj.forward(t, x), keyValueHeads, this.k_norm),
      value: this.v_proj.forward(t, x),
    };
  }
}

/** Applies a norm to every head of y (N, heads · d). */
function perHead(t: Trace, y: Value, heads: number, headDim: number, norm: RMSNorm | undefined): Value {
  if (norm === undefined) return y;
  const split = t.f.reshape(y, { shape: [TOKENS, heads, headDim] });
  return t.f.reshape(norm.forward(t, split), { shape: [TOKENS, heads * headDim] });
}

/** y = down(silu(gate(x)) ⊙ up(x)). */
export class GatedMLP extends Module {
  readonly kind: string;
  readonly gate_proj: Linear;
  readonly up_proj: Linear;
  readonly down_proj: Linear;

  constructor({ width, feedForward, feedForwardBias: bias, family }: DecoderOptions) {
    super();
    this.kind = `${family}MLP`;
    this.gate_proj = new Linear(width, feedForward, { bias });
    this.up_proj = new Linear(width, feedForward, { bias });
    this.down_proj = new Linear(feedForward, width, { bias });
  }

  forward(t: Trace, x: Value): Value {
    const gate = t.f.silu(this.gate_proj.forward(t, x)); // (N, F)
    return this.down_proj.forward(t, t.f.mul(gate, this.up_proj.forward(t, x))); // (N, D)
  }
}

/** One block: h + attention(norm(h)), then h + mlp(norm(h)). */
export class DecoderLayer extends Module {
  readonly kind: string;
  readonly self_attn: SelfAttention;
  readonly mlp: GatedMLP;
  readonly input_layernorm: RMSNorm;
  readonly post_attention_layernorm: RMSNorm;

  constructor(readonly options: DecoderOptions) {
    super();
    const { width, epsilon, family } = options;
    this.kind = `${family}DecoderLayer`;
    this.self_attn = new SelfAttention(options);
    this.mlp = new GatedMLP(options);
    this.input_layernorm = new RMSNorm(width, epsilon, `${family}RMSNorm`);
    this.post_attention_layernorm = new RMSNorm(width, epsilon, `${family}RMSNorm`);
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
        scale: 1 / Math.sqrt(headDim),
        causal: true,
        window: windowLayers === undefined || windowLayers(layer) ? window : undefined,
      },
      {
        kind: "tokens",
        name: `layers.${layer}.attention_out_mlp`,
        reads: { hidden: width, context: heads * headDim },
        writes: { hidden: width },
        trace: (t, { hidden, context }) =>
          withScope(scope, () => {
            const attended = t.f.add(hidden!, this.self_attn.o_proj.forward(t, context!)); // (N, D)
            const x = this.post_attention_layernorm.forward(t, attended);
            return { hidden: t.f.add(attended, this.mlp.forward(t, x)) };
          }),
      },
    ];
  }
}
