import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  AdamW,
  AutoModel,
  AutoModelForMaskedLM,
  AutoModelForQuestionAnswering,
  AutoModelForSequenceClassification,
  AutoModelForTokenClassification,
  createEngine,
  Dataset,
  type Engine,
  getPeftModel,
  openSafetensors,
  type PeftConfig,
  PeftModel,
  train,
} from "../../src/index.js";
import { toCamelCase } from "../../src/base/spelling.js";
import { methods } from "../../src/methods/index.js";
import { expectClose } from "../support/close.js";
import { fixturesFolder } from "../support/fixture.js";
import { meanSquare, realOutputs, toTaskBatch } from "../support/task-outputs.js";

const autos = {
  SEQ_CLS: AutoModelForSequenceClassification,
  TOKEN_CLS: AutoModelForTokenClassification,
  QUESTION_ANS: AutoModelForQuestionAnswering,
  FEATURE_EXTRACTION: AutoModel,
  MASKED_LM: AutoModelForMaskedLM,
};

interface Facts {
  readonly base: string;
  readonly task: keyof typeof autos;
  readonly peft_type: string;
  readonly options: Readonly<Record<string, unknown>>;
  readonly batch: Readonly<Record<string, number[][] | number[]>>;
  readonly losses: number[];
  readonly learning_rate: number;
  readonly weight_decay: number;
}

const root = join(fixturesFolder, "prompt-tasks");
const names = readdirSync(root).sort();
const readFacts = (name: string): Facts =>
  JSON.parse(readFileSync(join(root, name, "facts.json"), "utf8")) as Facts;

let engine: Engine;
const temporary = mkdtempSync(join(tmpdir(), "peft-prompt-tasks-"));
beforeAll(async () => {
  engine = await createEngine();
});
afterAll(async () => {
  await engine.close();
  rmSync(temporary, { recursive: true });
});

async function open(name: string, activationBytes?: number) {
  const facts = readFacts(name);
  const expected = await openSafetensors(join(root, name, "expected.safetensors"));
  const folder = join(fixturesFolder, "tasks", facts.base, "model");
  const base = await autos[facts.task].fromPretrained(folder, {
    engine,
    activationBytes,
    onWarning: () => undefined,
  });
  const options = Object.entries(facts.options).map(([key, value]) => [toCamelCase(key), value]);
  const lossOf = facts.task === "FEATURE_EXTRACTION" ? { lossOf: meanSquare } : {};
  const batch = { ...toTaskBatch(facts.batch), ...lossOf } as never;
  const tensor = (key: string) => expected.read(key).data as Float32Array;
  /** Compares every output with the reference, padding left out. */
  const compare = async (stage: "fresh" | "saved", absolute = 1e-4): Promise<void> => {
    const out = (await base.forward(batch)) as unknown as Record<string, unknown>;
    const keys = [...expected.tensors.keys()].filter((key) => key.startsWith(`${stage}.`));
    const mask = (facts.batch["attention_mask"] as number[][]).flat();
    for (const [ours, theirs] of realOutputs(out, keys, stage, tensor, mask))
      expectClose(`${stage} ${ours.name}`, ours.data, theirs, { absolute });
  };
  const config = { peftType: facts.peft_type, ...Object.fromEntries(options) } as PeftConfig;
  return { facts, base, batch, config, tensor, compare, expected, adapter: join(root, name, "adapter") };
}

test("every method with virtual tokens is checked on an encoder and on a decoder with a head", () => {
  const cases = names.map(readFacts);
  for (const { name, sites } of Object.values(methods)) {
    if (!(sites as readonly string[]).includes("model")) continue;
    const bases = cases.filter(({ peft_type }) => peft_type === name).map(({ base }) => base.split("-")[0]);
    expect(bases, name).toEqual(expect.arrayContaining(["bert", "roberta", "llama"]));
  }
});

test("a row of a classifier counts once in a step of training", async () => {
  const { base, facts, config, batch } = await open("prompt-bert-sequence");
  const model = await getPeftModel(base, config);
  const { loss } = await model.backward(batch);
  for (const parameter of model.trainableParameters()) parameter.grad = undefined;
  const { input_ids: ids, attention_mask: mask, token_type_ids: types, labels } = facts.batch;
  const rows = (ids as number[][]).map((row, b) => {
    const real = (list: number[][]) => list[b]!.filter((_, t) => (mask as number[][])[b]![t] === 1);
    const tokens = {
      inputIds: row.slice(0, real(ids as number[][]).length),
      tokenTypeIds: real(types as number[][]),
    };
    return { ...tokens, source: "", labels: [(labels as number[])[b]!], trained: 1, truncated: 0 };
  });
  const dataset = new Dataset(rows, 0, (some) => ({
    inputIds: some.map(({ inputIds }) => inputIds),
    tokenTypeIds: some.map(({ tokenTypeIds }) => tokenTypeIds!),
    labels: some.map((row) => row.labels[0]!),
  }));
  const losses: number[] = [];
  for await (const event of train(model, dataset, { maxSteps: 1, batchSize: 3 }))
    if (event.type === "step") losses.push(event.loss);
  expectClose("loss of a step", losses, [loss]);
  await base.close();
});

describe.each(names)("%s", (name) => {
  test.each([Infinity, 0])("outputs, gradients and five steps; %s bytes kept", async (activationBytes) => {
    const { base, batch, facts, config, tensor, compare, expected } = await open(name, activationBytes);
    const plain = await base.forward(batch);
    const model = await getPeftModel(base, config);
    const trained = model.trainableParameters();
    const starts = [...expected.tensors.keys()].filter((key) => key.startsWith("start."));
    expect(trained.map((p) => `start.${p.name}`).sort()).toEqual(starts.sort());
    for (const p of trained) p.data.set(tensor(`start.${p.name}`));
    await compare("fresh");
    const losses: number[] = [];
    const optimizer = new AdamW(trained, {
      learningRate: facts.learning_rate,
      weightDecay: facts.weight_decay,
    });
    for (let step = 0; step < 5; step += 1) {
      losses.push((await model.backward(batch)).loss);
      if (step === 0)
        for (const p of trained)
          expectClose(`gradient of ${p.name}`, p.grad!, tensor(`grad.${p.name}`), {
            absolute: 1e-5,
            relative: 1e-3,
          });
      await optimizer.step();
      optimizer.zeroGrad();
    }
    expectClose("losses", losses, facts.losses, { absolute: 1e-3 });
    for (const p of trained) {
      // Where a gradient is noise, Adam makes a full step of its sign: only entries above noise are compared.
      const gradient = tensor(`grad.${p.name}`);
      const clear = (values: Float32Array) => values.map((v, i) => (Math.abs(gradient[i]!) > 1e-4 ? v : 0));
      expectClose(p.name, clear(p.data), clear(tensor(`trained.${p.name}`)), { absolute: 5e-4 });
    }
    await model.disableAdapters();
    expect(await base.forward(batch)).toEqual(plain);
    expect(base.runner.pool.inUse).toBe(0);
    await base.close();
  });

  test("loads what Hugging Face saved and writes the same", async () => {
    const { base, compare, adapter } = await open(name);
    const model = await PeftModel.fromPretrained(base, adapter);
    await compare("saved");
    const out = join(temporary, name);
    await model.savePretrained(out);
    const [ours, theirs] = await Promise.all(
      [out, adapter].map((path) => openSafetensors(join(path, "adapter_model.safetensors"))),
    );
    expect([...ours!.tensors.keys()].sort()).toEqual([...theirs!.tensors.keys()].sort());
    for (const key of theirs!.tensors.keys()) expect(ours!.read(key), key).toEqual(theirs!.read(key));
    const json = (path: string): Record<string, unknown> =>
      JSON.parse(readFileSync(join(path, "adapter_config.json"), "utf8")) as Record<string, unknown>;
    // Hugging Face lists the names of all heads that there might be, twice.
    const { peft_version: _, modules_to_save: all, ...written } = json(adapter);
    const { modules_to_save: saved, ...rest } = json(out);
    expect(rest).toEqual({ ...written, base_model_name_or_path: expect.any(String) });
    for (const path of (saved ?? []) as string[])
      expect(
        (all as string[]).some((name) => path.endsWith(name)),
        path,
      ).toBe(true);
    model.deleteAdapter("default");
    await PeftModel.fromPretrained(base, out);
    await compare("saved");
    await base.close();
  });
});
