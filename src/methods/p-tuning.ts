import { choice, integer, number, optionalInteger } from "../base/option.js";
import { promptOptions } from "../base/prompt-options.js";
import type { Value } from "../graph/value.js";
import { bidirectionalLstm, multilayer, normal } from "../nn/prompt-encoder.js";
import { beforeInput, checkedPromptSizes, promptRows } from "../nn/prompt-start.js";
import type { VirtualContext } from "../nn/site.js";
import { defineMethod } from "./method.js";

/**
 * Virtual tokens before the input that an encoder computes while training: x ← [g(E); x].
 *
 * MLP: g(E) = W₃ relu(W₂ relu(W₁ E)); LSTM: g(E) = W₂ relu(W₁ h), h (n, 2 H) the states of a bidirectional LSTM over E; all with
 * biases.
 *
 * Shapes: E (n, D), W₁ (H, D), W₂ (H, H), W₃ (D, H); with LSTM W₁ (2 H, 2 H) and W₂ (D, 2 H). Virtual tokens stand at positions
 * 0 … n − 1. What is saved is the table g(E) (n, D). With an encoder and a decoder E has 2 n rows, all of which go through g, and the
 * first n of its result stand before the source, as in Hugging Face (`numTransformerSubmodules: 1` leaves the others out).
 * Adds n · D + H (2 D + H + 2) + D parameters with the MLP. It does not start as a no-op, and cannot be merged.
 * Differs from the paper: all virtual tokens stand before the input, as in Hugging Face, and the MLP is the default.
 *
 * @example
 * const model = await getPeftModel(base, { peftType: "P_TUNING", numVirtualTokens: 20, encoderHiddenSize: 128 });
 * @see Liu et al., "GPT Understands, Too", arXiv:2103.10385, §3.2
 */
export const pTuning = defineMethod({
  name: "P_TUNING",
  title: "P-tuning",
  paper: "arXiv:2103.10385",
  formula: "x ← [g(E); x]",
  parameters: "n · D, twice that with encoder and decoder, and the network g, which is not saved",
  advice:
    "Like prompt tuning, where that trains badly: the encoder ties the virtual tokens together while training.",
  sites: ["model"],
  config: {
    ...promptOptions,
    encoderReparameterizationType: choice({
      values: ["MLP", "LSTM"],
      default: "MLP",
      doc: "What computes the virtual tokens while training.",
    }),
    encoderHiddenSize: optionalInteger({
      min: 1,
      doc: "Inner width of the encoder; that of a token where nothing is said.",
    }),
    encoderNumLayers: integer({ default: 2, min: 1, doc: "Layers of the LSTM; the MLP always has three." }),
    encoderDropout: number({
      default: 0,
      min: 0,
      below: 1,
      doc: "Share dropped between the layers of the LSTM in training, 0 to below 1.",
    }),
  },
  quantisedBase: true,
  inert: {},
  parameterCount({ site }, config) {
    const { encoderReparameterizationType, encoderNumLayers } = config;
    const D = site.width;
    const H = config.encoderHiddenSize ?? D;
    const table = promptRows(site, config) * D;
    if (encoderReparameterizationType === "MLP") return table + H * (2 * D + H + 2) + D;
    const lstm = 8 * H * (D + H + 2) + (encoderNumLayers - 1) * 8 * H * (3 * H + 2);
    return table + lstm + 2 * H * (2 * H + 1) + D * (2 * H + 1);
  },
  identityStart: () => false,
  mergeable: () => false,
  attach(site, config, scope) {
    const sizes = checkedPromptSizes(site, config, { into: "input" });
    const { encoderReparameterizationType: type } = config;
    const { width } = site;
    const count = promptRows(site, config);
    const place = beforeInput(site, sizes, config, "first");
    const hidden = config.encoderHiddenSize ?? width;
    const settled = { ...sizes, encoderHiddenSize: hidden };
    if (scope.fromFile) {
      const shape = [{ symbol: "virtual tokens", size: count }, width];
      const table = scope.param("embedding.weight", "prompt_embeddings", shape, () => undefined);
      return {
        config: settled,
        withoutEncoder: true,
        virtual: { ...place, rows: ({ p }) => p(table) },
      };
    }
    const make = scope.encoder.bind(scope);
    const embedding = make("embedding.weight", [count, width], normal(1));
    const lstm = { from: width, hidden, layers: config.encoderNumLayers, steps: count };
    const parts =
      type === "LSTM"
        ? [
            bidirectionalLstm(make, "lstm_head", lstm, config.encoderDropout),
            multilayer(make, "mlp_head", [2 * hidden, 2 * hidden, width], { activation: "relu" }),
          ]
        : [multilayer(make, "mlp_head", [width, hidden, hidden, width], { activation: "relu" })];
    const table = (context: VirtualContext): Value =>
      parts.reduce((x, part) => part(context, x), context.p(embedding));
    return {
      config: settled,
      saves: { prompt_embeddings: table },
      virtual: { ...place, rows: table },
    };
  },
});
