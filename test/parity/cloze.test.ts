import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  AdamW,
  AutoModelForCloze,
  type ClozeOptions,
  createEngine,
  encodeClozeDataset,
  type Engine,
  getPeftModel,
  openSafetensors,
  type PeftConfig,
  PeftModel,
  readClozeFile,
} from "../../src/index.js";
import { toCamelCase } from "../../src/base/spelling.js";
import { expectClose } from "../support/close.js";
import { fixturesFolder } from "../support/fixture.js";

type Values = Readonly<Record<string, unknown>>;

interface Facts {
  readonly base: string;
  readonly peft_type: string;
  readonly options: Values;
  readonly cloze: Values;
  readonly rows: readonly Values[];
  readonly max_length: number;
  readonly input_ids: number[][];
  readonly losses: number[];
  readonly learning_rate: number;
  readonly weight_decay: number;
}

const root = join(fixturesFolder, "cloze");
const names = readdirSync(root).sort();

let engine: Engine;
const temporary = mkdtempSync(join(tmpdir(), "peft-cloze-"));
beforeAll(async () => {
  engine = await createEngine();
});
afterAll(async () => {
  await engine.close();
  rmSync(temporary, { recursive: true });
});

const camel = <T>(values: Values): T =>
  Object.fromEntries(Object.entries(values).map(([key, value]) => [toCamelCase(key), value])) as T;

async function open(name: string, activationBytes?: number) {
  const facts = JSON.parse(readFileSync(join(root, name, "facts.json"), "utf8")) as Facts;
  const expected = await openSafetensors(join(root, name, "expected.safetensors"));
  const model = join(temporary, name, "model");
  cpSync(join(fixturesFolder, facts.base, "model"), model, { recursive: true });
  for (const file of ["tokenizer.json", "tokenizer_config.json"])
    cpSync(join(root, name, file), join(model, file));
  const cloze = camel<ClozeOptions>(facts.cloze);
  const base = await AutoModelForCloze.fromPretrained(model, { ...cloze, engine, activationBytes });
  const rows = facts.rows.map((value, i) => ({ source: `rows:${i}`, value }));
  const dataset = encodeClozeDataset(rows, base.cloze, { maxLength: facts.max_length });
  const tensor = (key: string) => expected.read(key).data as Float32Array;
  const config = { peftType: facts.peft_type, ...camel<Values>(facts.options) } as PeftConfig;
  const batch = dataset.collate(dataset.examples) as never;
  return {
    facts,
    base,
    model,
    dataset,
    batch,
    config,
    tensor,
    expected,
    adapter: join(root, name, "adapter"),
  };
}

describe.each(names)("%s", (name) => {
  test.each([Infinity, 0])("scores, gradients and five steps; %s bytes kept", async (activationBytes) => {
    const { facts, base, dataset, batch, config, tensor, expected } = await open(name, activationBytes);
    expect(dataset.examples.map(({ inputIds }) => inputIds)).toEqual(facts.input_ids);
    expect(dataset.summary.truncatedRows).toBe(1);
    const plain = await base.forward(batch);
    const model = await getPeftModel(base, config);
    const trained = model.trainableParameters();
    const starts = [...expected.tensors.keys()].filter((key) => key.startsWith("start."));
    expect(trained.map((p) => `start.${p.name}`).sort()).toEqual(starts.sort());
    for (const p of trained) p.data.set(tensor(`start.${p.name}`));
    const { logits, loss } = await model.forward(batch);
    expect(logits.dims).toEqual([facts.rows.length, 3]);
    expect(loss).toBeCloseTo(facts.losses[0]!, 4);
    expectScores("fresh", base.cloze.form, logits.data, tensor("fresh.scores"));
    const optimizer = new AdamW(trained, {
      learningRate: facts.learning_rate,
      weightDecay: facts.weight_decay,
    });
    const losses: number[] = [];
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
    model.disableAdapters();
    expect(await base.forward(batch)).toEqual(plain);
    expect(base.runner.pool.inUse).toBe(0);
    await base.close();
  });

  test("loads what Hugging Face saved, and a saved adapter knows its template", async () => {
    const { base, model: folder, facts, batch, tensor, adapter } = await open(name);
    const model = await PeftModel.fromPretrained(base, adapter);
    const before = (await model.forward(batch)).logits.data;
    expectScores("saved", base.cloze.form, before, tensor("saved.scores"));
    const out = join(temporary, name, "out");
    await model.savePretrained(out);
    const [ours, theirs] = await Promise.all(
      [out, adapter].map((path) => openSafetensors(join(path, "adapter_model.safetensors"))),
    );
    expect([...ours!.tensors.keys()].sort()).toEqual([...theirs!.tensors.keys()].sort());
    for (const key of theirs!.tensors.keys()) expect(ours!.read(key), key).toEqual(theirs!.read(key));
    const json = (path: string): Values =>
      JSON.parse(readFileSync(join(path, "adapter_config.json"), "utf8")) as Values;
    expect(json(out)["task_type"]).toBe(json(adapter)["task_type"]);
    await base.close();
    const read = await readClozeFile(out);
    expect(read).toEqual({
      combineWords: "mean",
      lengthNormalization: false,
      ...camel<ClozeOptions>(facts.cloze),
    });
    await using again = await AutoModelForCloze.fromPretrained(folder, { ...read, engine });
    const reloaded = await PeftModel.fromPretrained(again, out);
    expect((await reloaded.forward(batch)).logits.data).toEqual(before);
  });
});

/** Scores at a mask are compared as they are; those of words behind a prompt are sums of logarithms. */
function expectScores(what: string, form: string, ours: Float32Array, theirs: Float32Array): void {
  expectClose(`${what} (${form})`, ours, theirs, { absolute: 2e-4, relative: 1e-4 });
}
