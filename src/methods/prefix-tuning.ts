import { flag, optionalChoice, optionalInteger } from "../base/option.js";
import { promptOptions } from "../base/prompt-options.js";
import type { Value } from "../graph/value.js";
import { multilayer, normal } from "../nn/prompt-encoder.js";
import { checkedPromptSizes } from "../nn/prompt-start.js";
import type { VirtualContext } from "../nn/site.js";
import { defineMethod } from "./method.js";

/**
 * Trained keys and values before those of every attention layer: K ← [P_K; K], V ← [P_V; V].
 *
 * Shapes: one table (n, L · 2 · K d) holds keys and values of all L layers, layer by layer. Real tokens stand at positions n and up.
 * With `prefixProjection` the table is computed while training: W₂ tanh(W₁ E + b₁) + b₂, with E (n, K d), W₁ (H, K d) and
 * W₂ (L · 2 · K d, H); what is saved is the table.
 * With an encoder and a decoder the layers are the self-attention of the decoder, and L counts those of the encoder (or the decoder's, where it
 * has more): layer l has parts 4 l and 4 l + 1 of the 2 L of the table, counted round, as in Hugging Face; with an even L half of the table
 * serves two layers each, and the other half none.
 * Adds n · L · 2 · K d parameters to the model; with the projection n · K d + H (K d + 1) + L · 2 · K d (H + 1).
 * It does not start as a no-op (keys of zero take their share of the attention too), and cannot be merged.
 * Differs from the paper: without the projection by default, as in Hugging Face.
 *
 * @example
 * const model = await getPeftModel(base, { peftType: "PREFIX_TUNING", numVirtualTokens: 10, prefixProjection: true });
 * @see Li and Liang, "Prefix-Tuning: Optimizing Continuous Prompts for Generation", arXiv:2101.00190, §4
 */
export const prefixTuning = defineMethod({
  name: "PREFIX_TUNING",
  title: "Prefix tuning",
  paper: "arXiv:2101.00190",
  formula: "K ← [P_K; K], V ← [P_V; V]",
  parameters: "n · L · 2 · K d; with the projection n · K d + H (K d + 1) + L · 2 · K d (H + 1)",
  advice:
    "More capacity than prompt tuning without touching weights; every virtual token makes attention longer in every layer.",
  sites: ["model"],
  config: {
    ...promptOptions,
    prefixProjection: flag({ default: false, doc: "Computes the prefix by a two-layer MLP while training." }),
    encoderHiddenSize: optionalInteger({
      min: 1,
      doc: "Inner width of the MLP of prefixProjection; that of a virtual token where nothing is said.",
    }),
    initWeights: optionalChoice({
      values: ["zero"],
      doc: "How keys and values start: zero, or random where nothing is said.",
    }),
  },
  quantisedBase: true,
  inert: {},
  parameterCount({ site }, config) {
    const { numLayers, tokenDim: width } = checkedPromptSizes(site, config, { into: "keysAndValues" });
    const { numVirtualTokens, prefixProjection, encoderHiddenSize } = config;
    const total = numLayers * 2 * width;
    const hidden = encoderHiddenSize ?? width;
    if (!prefixProjection) return numVirtualTokens * total;
    return numVirtualTokens * width + hidden * (width + 1) + total * (hidden + 1);
  },
  identityStart: () => false,
  mergeable: () => false,
  attach(site, config, scope) {
    const sizes = checkedPromptSizes(site, config, { into: "keysAndValues" });
    const { numVirtualTokens: count, initWeights, prefixProjection } = config;
    const { numLayers, tokenDim: width } = sizes;
    const hidden = config.encoderHiddenSize ?? width;
    const total = numLayers * 2 * width;
    const settled = { ...sizes, encoderHiddenSize: hidden };
    const layersOf = ({ f }: VirtualContext, table: Value): { key: Value; value: Value }[] => {
      const part = (i: number): Value => {
        const at = (i % (2 * numLayers)) * width;
        return f.slice(table, { axis: 1, start: at, end: at + width });
      };
      const step = 2 * sizes.numTransformerSubmodules;
      return site.layers.map((_, l) => ({ key: part(step * l), value: part(step * l + 1) }));
    };
    if (!prefixProjection || scope.fromFile) {
      const start = initWeights === "zero" || scope.fromFile ? () => undefined : normal(1);
      const shape = [{ symbol: "virtual tokens", size: count }, total];
      const table = scope.param("embedding.weight", "prompt_embeddings", shape, start);
      return {
        config: settled,
        withoutEncoder: prefixProjection,
        virtual: { into: "keysAndValues", count, layers: (context) => layersOf(context, context.p(table)) },
      };
    }
    const embedding = scope.encoder("embedding.weight", [count, width], normal(1));
    const transform = multilayer(
      (...tensor) => scope.encoder(...tensor),
      "transform",
      [width, hidden, total],
      { activation: "tanh", zero: initWeights === "zero" },
    );
    const table = (context: VirtualContext): Value => transform(context, context.p(embedding));
    return {
      config: settled,
      saves: { prompt_embeddings: table },
      virtual: { into: "keysAndValues", count, layers: (context) => layersOf(context, table(context)) },
    };
  },
});
