import { ConfigError } from "../base/errors.js";
import { type HostTensor, hostTensor } from "../base/host-tensor.js";

/** How rotary angles are stretched for contexts longer than the model was trained on. */
export type RopeScaling =
  | { readonly kind: "default" }
  | { readonly kind: "linear"; readonly factor: number }
  | { readonly kind: "dynamic"; readonly factor: number; readonly trainedLength: number }
  | {
      readonly kind: "llama3";
      readonly factor: number;
      readonly lowFrequencyFactor: number;
      readonly highFrequencyFactor: number;
      readonly trainedLength: number;
    }
  | {
      readonly kind: "longrope";
      /** Divisors of each frequency, for rows up to the trained length and beyond it. */
      readonly shortFactors: readonly number[];
      readonly longFactors: readonly number[];
      readonly trainedLength: number;
      /** Factor on cos and sin. */
      readonly magnitude: number;
    };

export interface RopeOptions {
  readonly theta: number;
  /** Width of a head that is rotated. */
  readonly dim: number;
  readonly scaling: RopeScaling;
}

const number = (source: Record<string, unknown>, key: string, fallback?: number): number => {
  const value = source[key] ?? fallback;
  if (typeof value === "number") return value;
  throw new ConfigError({
    code: "config_value",
    summary: `config.json: rope_scaling.${key} is ${JSON.stringify(value)}; a number was expected.`,
    fields: { key: `rope_scaling.${key}`, value },
  });
};

/** Reads the rotary settings of a Hugging Face config, in the spelling of transformers 4 or 5. */
export function readRope(config: Readonly<Record<string, unknown>>, dim: number): RopeOptions {
  const parameters = (config["rope_parameters"] ?? config["rope_scaling"] ?? {}) as Record<string, unknown>;
  const theta = number({ ...config, ...parameters }, "rope_theta", 10_000);
  const kind = (parameters["rope_type"] ?? parameters["type"] ?? "default") as string;
  const trainedLength = number(
    parameters,
    "original_max_position_embeddings",
    config["max_position_embeddings"] as number,
  );
  if (kind === "default") return { theta, dim, scaling: { kind } };
  // Phi-3 has older names for LongRoPE; only its settings tell "yarn" from what others call so.
  if (kind === "longrope" || kind === "su" || (kind === "yarn" && "short_factor" in parameters))
    return readLongRope(config, parameters, theta, dim);
  const factor = number(parameters, "factor");
  if (kind === "linear") return { theta, dim, scaling: { kind, factor } };
  if (kind === "dynamic") return { theta, dim, scaling: { kind, factor, trainedLength } };
  if (kind === "llama3") {
    const lowFrequencyFactor = number(parameters, "low_freq_factor");
    const highFrequencyFactor = number(parameters, "high_freq_factor");
    return { theta, dim, scaling: { kind, factor, lowFrequencyFactor, highFrequencyFactor, trainedLength } };
  }
  throw new ConfigError({
    code: "rope_kind_unknown",
    summary: `config.json: rope scaling of kind "${kind}" is not known.`,
    facts: [["known kinds", "default, linear, dynamic, llama3, longrope"]],
    fields: { kind },
  });
}

/** The short and the long divisors of LongRoPE (arXiv:2402.13753, §3). */
function readLongRope(
  config: Readonly<Record<string, unknown>>,
  parameters: Readonly<Record<string, unknown>>,
  theta: number,
  dim: number,
): RopeOptions {
  const factors = (key: string): number[] => {
    const value = parameters[key];
    if (Array.isArray(value) && value.length === dim / 2 && value.every((one) => typeof one === "number"))
      return value as number[];
    throw new ConfigError({
      code: "config_value",
      summary: `config.json: rope_scaling.${key} has to be a list of ${dim / 2} numbers.`,
      fields: { key: `rope_scaling.${key}`, value },
    });
  };
  const longest = number(config, "max_position_embeddings");
  const trainedLength = number({ ...config, ...parameters }, "original_max_position_embeddings", longest);
  const stretch = number(parameters, "factor", longest / trainedLength);
  const usual = stretch <= 1 ? 1 : Math.sqrt(1 + Math.log(stretch) / Math.log(trainedLength));
  const magnitude = number(parameters, "attention_factor", usual);
  const [shortFactors, longFactors] = [factors("short_factor"), factors("long_factor")];
  return { theta, dim, scaling: { kind: "longrope", shortFactors, longFactors, trainedLength, magnitude } };
}

/** Longest input, in tokens: dynamic scaling reaches `factor` times as far as the model was trained. */
export function ropeContextLength(config: Readonly<Record<string, unknown>>, fallback: number): number {
  const length = (config["max_position_embeddings"] as number | undefined) ?? fallback;
  const parameters = (config["rope_parameters"] ?? config["rope_scaling"] ?? {}) as Record<string, unknown>;
  if ((parameters["rope_type"] ?? parameters["type"]) !== "dynamic") return length;
  const { scaling } = readRope({ max_position_embeddings: length, ...config }, 2);
  return scaling.kind === "dynamic" ? Math.floor(scaling.trainedLength * scaling.factor) : length;
}

/** θ_i = theta^(−2i/dim), scaled. */
function frequencies({ theta, dim, scaling }: RopeOptions, length: number): Float64Array {
  const plain = (base: number) => Float64Array.from({ length: dim / 2 }, (_, i) => base ** ((-2 * i) / dim));
  switch (scaling.kind) {
    case "default":
      return plain(theta);
    case "linear":
      return plain(theta).map((value) => value / scaling.factor);
    case "longrope": {
      const factors = length > scaling.trainedLength ? scaling.longFactors : scaling.shortFactors;
      return plain(theta).map((value, i) => value / factors[i]!);
    }
    case "dynamic": {
      const reach = Math.max(length, scaling.trainedLength) / scaling.trainedLength;
      return plain(theta * (scaling.factor * reach - (scaling.factor - 1)) ** (dim / (dim - 2)));
    }
    case "llama3":
      return plain(theta).map((value) => {
        const wavelength = (2 * Math.PI) / value;
        const [low, high] = [scaling.lowFrequencyFactor, scaling.highFrequencyFactor];
        if (wavelength > scaling.trainedLength / low) return value / scaling.factor;
        if (wavelength < scaling.trainedLength / high) return value;
        const smooth = (scaling.trainedLength / wavelength - low) / (high - low);
        return ((1 - smooth) * value) / scaling.factor + smooth * value;
      });
  }
}

/** Tables of cos and sin, one row a position: (P, dim/2) each. They grow as longer batches come. */
export class RopeTables {
  #length = 0;
  #rows = 0;
  #tables: { cos: HostTensor; sin: HostTensor } | undefined;

  constructor(readonly options: RopeOptions) {}

  /**
   * Tables for positions below `length`, with at least `rows` rows: the runtime wants as many as a batch has tokens, whatever
   * their positions.
   */
  upTo(length: number, rows: number): { cos: HostTensor; sin: HostTensor } {
    const fits = this.#exact ? this.#length === length : this.#length >= length;
    if (this.#tables === undefined || !fits || this.#rows < rows) this.#tables = this.#build(length, rows);
    return this.#tables;
  }

  /** Whether the angles depend on the length of the longest row. */
  get #exact(): boolean {
    const { kind } = this.options.scaling;
    return kind === "dynamic" || kind === "longrope";
  }

  #build(length: number, rows: number): { cos: HostTensor; sin: HostTensor } {
    const count = Math.max(64, 2 ** Math.ceil(Math.log2(Math.max(length, rows))));
    const theta = frequencies(this.options, length);
    const half = theta.length;
    const { scaling } = this.options;
    const magnitude = scaling.kind === "longrope" ? scaling.magnitude : 1;
    const cos = new Float32Array(count * half);
    const sin = new Float32Array(count * half);
    for (let p = 0; p < count; p += 1) {
      for (let i = 0; i < half; i += 1) {
        // float32 at the same places as the reference: frequency, then angle.
        const angle = Math.fround(p * Math.fround(theta[i]!));
        cos[p * half + i] = magnitude * Math.cos(angle);
        sin[p * half + i] = magnitude * Math.sin(angle);
      }
    }
    this.#length = this.#exact ? length : count;
    this.#rows = count;
    return { cos: hostTensor("float32", [count, half], cos), sin: hostTensor("float32", [count, half], sin) };
  }
}
