import { always, defineMethod, flag, nothing, targetOptions } from "peft.js";

/**
 * Scales and shifts what a linear layer gives.
 *
 * y = γ ⊙ (W x + b) + β
 *
 * Shapes: x (N, in) → (N, out); γ (out), β (out). γ starts at one and β at zero, so the layer is unchanged before the first step.
 * Adds 2 · out parameters to a layer, out without `shift`.
 * Differs from the paper: γ and β start at one and zero, not around them, so that a fresh adapter changes nothing.
 *
 * @see Lian et al., "Scaling & Shifting Your Features: A New Baseline for Efficient Model Tuning", arXiv:2210.08823, eq. 3
 */
export const ssf = defineMethod({
  name: "SSF",
  title: "SSF",
  paper: "arXiv:2210.08823",
  formula: "y = γ ⊙ (W x + b) + β",
  parameters: "2 · out, out without shift",
  advice:
    "Very few parameters and no cost when merged; for tasks near to what the base does. Learning rate 1e-3 to 1e-2.",
  sites: ["linear"],
  // Where nothing is said, the modules that LoRA would adapt on the model at hand.
  modelDefaults: { targetModules: ["LORA"] },
  config: {
    shift: flag({ default: true, doc: "Trains β too; without it the adapter can be merged into any layer." }),
    ...targetOptions,
  },
  // Keys of adapter_config.json that are accepted and mean nothing; none here.
  inert: {},
  quantisedBase: true,
  identityStart: () => true,
  // β has to go into a bias, which a layer may not have.
  mergeable: ({ shift }) => !shift,
  parameterCount: ({ site }, { shift }) => (shift ? 2 : 1) * site.outFeatures,
  attach(site, { shift }, scope) {
    const out = site.outFeatures;
    const gamma = scope.param("ssf_scale", [out], always(1));
    if (shift) {
      const beta = scope.param("ssf_shift", [out], nothing);
      return { forward: ({ f, x, base, p }) => f.add(f.mul(base(x), p(gamma)), p(beta)) }; // (N, out)
    }
    return {
      forward: ({ f, x, base, p }) => f.mul(base(x), p(gamma)), // (N, out)
      merged: ({ f, own, p }) => ({
        weight: f.mul(own("weight"), f.reshape(p(gamma), { shape: [out, 1] })),
        ...(site.bias === undefined ? {} : { bias: f.mul(own("bias"), p(gamma)) }),
      }),
    };
  },
});

// Types the options of `{ peftType: "SSF" }` in getPeftModel.
declare module "peft.js" {
  interface RegisteredMethods {
    SSF: typeof ssf;
  }
}
