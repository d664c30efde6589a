import { readFileSync } from "node:fs";
import { join } from "node:path";
import { openSafetensors } from "../../src/files/safetensors.js";
import type { Batch } from "../../src/text/collate.js";

export const fixturesFolder = join(import.meta.dirname, "..", "fixtures");

interface RawBatch {
  readonly input_ids: number[][];
  readonly attention_mask: number[][];
  readonly labels: number[][];
}

/** What the Python script wrote beside the tensors. */
export interface FixtureFacts {
  readonly batch: RawBatch;
  readonly left: RawBatch;
  readonly prompts: number[][];
  readonly answers: { readonly base: number[][]; readonly adapter: number[][] };
  readonly losses: number[];
  readonly learning_rate: number;
  readonly weight_decay: number;
  readonly clip: number | null;
  readonly schedule: "linear" | "cosine" | null;
  readonly stored_dtype: string;
}

export interface Fixture {
  readonly model: string;
  readonly adapter: string;
  readonly facts: FixtureFacts;
  /** An expected tensor by name. */
  tensor(name: string): Float32Array;
  /** Names of expected tensors that begin so. */
  names(prefix: string): string[];
}

export const toBatch = (raw: RawBatch): Batch => ({
  inputIds: raw.input_ids,
  attentionMask: raw.attention_mask,
  labels: raw.labels,
});

/** Which places of answers count: all up to the last label, 1 or 0 as in an attention mask. */
export const realTargets = ({ labels }: RawBatch): number[][] =>
  labels.map((row) => {
    const end = row.findLastIndex((label) => label !== -100);
    return row.map((_, i) => (i <= end ? 1 : 0));
  });

export async function openFixture(name: string): Promise<Fixture> {
  const folder = join(fixturesFolder, name);
  const expected = await openSafetensors(join(folder, "expected.safetensors"));
  return {
    model: join(folder, "model"),
    adapter: join(folder, "adapter"),
    facts: JSON.parse(readFileSync(join(folder, "facts.json"), "utf8")) as FixtureFacts,
    tensor(name_) {
      if (!expected.tensors.has(name_)) throw new Error(`The fixture has no tensor ${name_}.`);
      return expected.read(name_).data as Float32Array;
    },
    names: (prefix) => [...expected.tensors.keys()].filter((key) => key.startsWith(prefix)),
  };
}

const casesOf = (file: string): string[] => {
  const { cases } = JSON.parse(readFileSync(join(fixturesFolder, file), "utf8")) as {
    cases: { case: string }[];
  };
  return cases.map((entry) => entry.case);
};

/** The cases of causal language models. */
export const fixtureNames = [...casesOf("manifest.json"), ...casesOf("models.json")];
