import { expect, test } from "vitest";
import { ggufConfig, ggufGenerationConfig } from "./gguf-config.js";
import type { GgufHeader, GgufValue } from "./gguf-header.js";

const header = (metadata: Record<string, GgufValue>): GgufHeader => ({
  metadata: new Map(Object.entries({ "general.architecture": "llama", ...metadata })),
  tensors: [{ name: "token_embd.weight", shape: [97, 32], type: 0, offset: 0 }],
});

/** The divisors that a converter writes for Llama 3, in float32. */
function divisors(factor: number, theta: number, half: number): Float32Array {
  return Float32Array.from({ length: half }, (_, i) => {
    const wavelength = 2 * Math.PI * theta ** (i / half);
    if (wavelength < 8192 / 4) return 1;
    if (wavelength > 8192) return factor;
    const smooth = (8192 / wavelength - 1) / 3;
    return 1 / ((1 - smooth) / factor + smooth);
  });
}

test("the rotary scaling of Llama 3 is found again from its divisors", () => {
  const file = header({ "llama.rope.freq_base": 500_000 });
  for (const factor of [8, 32]) {
    const config = ggufConfig(file, "x.gguf", divisors(factor, 500_000, 64));
    expect(config["rope_scaling"]).toEqual({
      rope_type: "llama3",
      factor,
      low_freq_factor: 1,
      high_freq_factor: 4,
      original_max_position_embeddings: 8192,
    });
  }
  expect(ggufConfig(file, "x.gguf", new Float32Array(64).fill(1))).not.toHaveProperty("rope_scaling");
});

test("divisors of another kind are refused", () => {
  const other = Float32Array.from({ length: 64 }, (_, i) => 1 + i);
  expect(() => ggufConfig(header({ "llama.rope.freq_base": 500_000 }), "x.gguf", other))
    .toThrowErrorMatchingInlineSnapshot(`
    [UnsupportedError: The rotary frequencies of x.gguf are stretched in a way that is not known.
      known  rope_freqs.weight as Llama 3.1, 3.2 and 3.3 have it
    fix: use the Hugging Face folder of this model]
  `);
});

test("linear scaling is taken from the metadata", () => {
  const file = header({ "llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 4 });
  expect(ggufConfig(file, "x.gguf")["rope_scaling"]).toMatchObject({ rope_type: "linear", factor: 4 });
});

test("all tokens that end an answer are in the generation config", () => {
  const ids = { "tokenizer.ggml.bos_token_id": 1, "tokenizer.ggml.eos_token_id": 2 };
  expect(ggufGenerationConfig(header(ids))).toEqual({ bos_token_id: 1, eos_token_id: 2 });
  expect(ggufGenerationConfig(header({ ...ids, "tokenizer.ggml.eot_token_id": 7 }))).toEqual({
    bos_token_id: 1,
    eos_token_id: [2, 7],
  });
  expect(ggufGenerationConfig(header({}))).toBeUndefined();
});

test("an architecture that is not known", () => {
  expect(() => ggufConfig(header({ "general.architecture": "llamma" }), "x.gguf"))
    .toThrowErrorMatchingInlineSnapshot(`
    [CheckpointError: GGUF architecture "llamma" of x.gguf is not supported.
      nearest    llama
      supported  llama, mistral, qwen2, qwen3
    fix: use a model of one of these architectures]
  `);
});
