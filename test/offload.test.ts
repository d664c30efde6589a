import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import {
  AutoModelForCausalLM,
  AutoModelForSeq2SeqLM,
  ConfigError,
  getPeftModel,
  type PeftConfig,
} from "../src/index.js";
import { packBatch } from "../src/text/collate.js";

const fixtures = join(import.meta.dirname, "fixtures");
let folder = "";
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "peft-offload-"));
});
afterAll(() => rm(folder, { recursive: true }));

const rows = {
  inputIds: [
    [3, 17, 29, 5],
    [41, 8, 2, 30, 11, 9],
  ],
  labels: [
    [-100, 17, 29, 5],
    [-100, -100, 2, 30, 11, 9],
  ],
};
const openers = {
  llama: (offloadFolder?: string) =>
    AutoModelForCausalLM.fromPretrained(join(fixtures, "gguf/llama.gguf"), { offloadFolder }),
  t5: (offloadFolder?: string) =>
    AutoModelForSeq2SeqLM.fromPretrained(join(fixtures, "seq2seq/t5/model"), { offloadFolder }),
};

/** Loss and gradients of two steps, and how the model stands after them. */
async function steps(name: keyof typeof openers, config: PeftConfig, offloadFolder?: string) {
  await using base = await openers[name](offloadFolder);
  const model = await getPeftModel(base, config);
  const puts: string[][] = [];
  const losses: number[] = [];
  for (const seed of [1, 2]) {
    const { loss } = await model.backward(rows, { seed });
    losses.push(loss);
    puts.push(await readdir(folder));
  }
  const gradients = model.trainableParameters().map(({ name, grad }) => [name, [...grad!]] as const);
  return { losses, gradients, puts, peak: base.runner.pool.peak, inUse: base.runner.pool.inUse };
}

const configs: readonly (readonly [keyof typeof openers, PeftConfig])[] = [
  ["llama", { peftType: "LORA", initLoraWeights: false, targetModules: "all-linear", loraDropout: 0.2 }],
  ["llama", { peftType: "PREFIX_TUNING", numVirtualTokens: 3 }],
  ["llama", { peftType: "PROMPT_TUNING", numVirtualTokens: 3 }],
  ["t5", { peftType: "LORA", initLoraWeights: false }],
];
test.each(configs)(
  "activations in a file give %s with %o the same gradients bit for bit",
  async (name, config) => {
    const kept = await steps(name, config);
    const offloaded = await steps(name, config, folder);
    expect(offloaded.losses).toEqual(kept.losses);
    expect(offloaded.gradients).toEqual(kept.gradients);
    expect(offloaded.inUse).toBe(kept.inUse);
    // The file has no name, so nothing can be left behind.
    expect(offloaded.puts).toEqual([[], []]);
  },
);

test("what waits for the backward pass is not in memory", async () => {
  const long = { inputIds: [Array.from({ length: 60 }, (_, i) => i % 50)] };
  const peaks: number[] = [];
  for (const where of [undefined, folder]) {
    await using base = await openers.llama(where);
    const model = await getPeftModel(base, { peftType: "LORA" });
    const batch = { inputIds: Array.from({ length: 64 }, () => long.inputIds[0]!) };
    await model.backward({ ...batch, labels: batch.inputIds });
    peaks.push(base.runner.pool.peak);
  }
  expect(peaks[1]).toBeLessThan(peaks[0]!);
});

test("a step that is broken off gives its memory back, and the next one is right", async () => {
  await using base = await openers.llama(folder);
  const model = await getPeftModel(base, { peftType: "LORA", initLoraWeights: false });
  const wanted = (await model.backward(rows)).loss;
  const { inUse } = base.runner.pool;
  const pass = await base.runner.forward(packBatch(rows, {}), { gradients: true });
  pass.release();
  expect((await model.backward(rows)).loss).toBe(wanted);
  expect(base.runner.pool.inUse).toBe(inUse);
});

test("a folder that nothing can be written to is refused before the model is opened", async () => {
  const file = join(folder, "file");
  await writeFile(file, "");
  await expect(openers.llama(join(file, "scratch"))).rejects.toThrow(ConfigError);
  await rm(file);
});
