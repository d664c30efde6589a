import { UnsupportedError } from "../base/errors.js";

/** Where Llama 3.1 and later change from kept to stretched angles; GGUF keeps the result and not these. */
const LOW = 1;
const HIGH = 4;
const TRAINED_LENGTH = 8192;

/**
 * The `rope_scaling` of Hugging Face that a tensor of rotary divisors (`rope_freqs.weight`) was made from.
 *
 * The divisor of θ_i is 1 below the wavelength 8192/4, `factor` above 8192, and between them 1 / ((1 − s)/factor + s).
 *
 * Shapes: divisors (d/2).
 *
 * @throws {@link UnsupportedError} `gguf_rope` where no factor gives these divisors
 */
export function ropeScalingFromDivisors(
  divisors: Float32Array,
  theta: number,
  path: string,
): Record<string, unknown> | undefined {
  const factor = divisors.reduce((most, value) => Math.max(most, value), 1);
  const fits = divisors.every((value, i) => {
    const wavelength = 2 * Math.PI * theta ** (i / divisors.length);
    const smooth = Math.min(1, Math.max(0, (TRAINED_LENGTH / wavelength - LOW) / (HIGH - LOW)));
    // Float32 divisors of float32 angles: the last digits differ.
    return Math.abs(value * ((1 - smooth) / factor + smooth) - 1) < 1e-3;
  });
  if (!fits) {
    throw new UnsupportedError({
      code: "gguf_rope",
      summary: `The rotary frequencies of ${path} are stretched in a way that is not known.`,
      facts: [["known", "rope_freqs.weight as Llama 3.1, 3.2 and 3.3 have it"]],
      fixes: ["use the Hugging Face folder of this model"],
      fields: { path, factor },
    });
  }
  if (factor === 1) return undefined;
  return {
    rope_type: "llama3",
    factor,
    low_freq_factor: LOW,
    high_freq_factor: HIGH,
    original_max_position_embeddings: TRAINED_LENGTH,
  };
}
