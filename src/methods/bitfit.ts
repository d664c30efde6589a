import { targetOptions } from "../base/target-options.js";
import { defineMethod } from "./method.js";

/**
 * Trained biases, all of the model or those of some modules.
 *
 * y = W x + b', b' trained
 *
 * Shapes: b' as the bias it stands in for, most often (out).
 * The biases start as they are, so the model is unchanged before the first step. Adds as many parameters as there are biases. Without
 * `targetModules` every module that has a bias is one, norms too; the paper's smaller choice for BERT is `["query",
 * "intermediate.dense"]`. Models without biases, such as llama, cannot be trained so.
 * Hugging Face has no such method; its nearest is LoRA with `bias: "all"`, whose file holds the same tensors beside A and B.
 *
 * @example
 * const model = await getPeftModel(base, { peftType: "BITFIT" });
 * @see Ben Zaken et al., "BitFit: Simple Parameter-efficient Fine-tuning", arXiv:2106.10199, §3
 */
export const bitfit = defineMethod({
  name: "BITFIT",
  title: "BitFit",
  paper: "arXiv:2106.10199",
  formula: "y = W x + b', b' trained",
  parameters: "out for every bias",
  advice:
    "Encoders and small data: a thousandth of the parameters, near to full fine-tuning there; learning rates around 1e-3.",
  sites: ["bias"],
  everywhere: true,
  quantisedBase: true,
  config: { ...targetOptions },
  inert: {},
  identityStart: () => true,
  mergeable: () => true,
  parameterCount: ({ site }) => site.bias.size,
  attach({ bias }, _config, scope) {
    const copy = scope.param("bitfit_bias", bias.shape, (data) => data.set(bias.data));
    return { replaces: { bias: ({ p }) => p(copy) } };
  },
});
