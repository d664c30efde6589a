import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  AdamW,
  AutoModelForSeq2SeqLM,
  createEngine,
  type Engine,
  generate,
  getPeftModel,
  openSafetensors,
  type PeftConfig,
  PeftModel,
  type Seq2SeqBatch,
} from "../../src/index.js";
import { toCamelCase } from "../../src/base/spelling.js";
import { methods } from "../../src/methods/index.js";
import { expectClose } from "../support/close.js";
import { fixturesFolder } from "../support/fixture.js";

interface Facts {
  readonly base: string;
  readonly peft_type: string;
  readonly options: Readonly<Record<string, unknown>>;
  readonly batch: {
    readonly input_ids: number[][];
    readonly attention_mask: number[][];
    readonly labels: number[][];
    readonly task_ids?: number[];
  };
  readonly answers: number[][];
  readonly losses: number[];
  readonly learning_rate: number;
  readonly weight_decay: number;
}

const root = join(fixturesFolder, "prompts-seq2seq");
const names = readdirSync(root)
  .filter((name) => name !== "models")
  .sort();
const factsOf = (name: string): Facts => JSON.parse(readFileSync(join(root, name, "facts.json"), "utf8"));

let engine: Engine;
const temporary = mkdtempSync(join(tmpdir(), "peft-prompts-seq2seq-"));
beforeAll(async () => {
  engine = await createEngine();
});
afterAll(async () => {
  await engine.close();
  rmSync(temporary, { recursive: true });
});

async function open(name: string, activationBytes?: number) {
  const facts = factsOf(name);
  const base = await AutoModelForSeq2SeqLM.fromPretrained(join(fixturesFolder, facts.base), {
    engine,
    activationBytes,
  });
  const expected = await openSafetensors(join(root, name, "expected.safetensors"));
  const options = Object.entries(facts.options).map(([key, value]) => [toCamelCase(key), value]);
  const { input_ids, attention_mask, labels, task_ids } = facts.batch;
  const batch: Seq2SeqBatch = {
    inputIds: input_ids,
    attentionMask: attention_mask,
    labels,
    ...(task_ids === undefined ? {} : { taskIds: task_ids }),
  };
  return {
    facts,
    base,
    batch,
    config: { peftType: facts.peft_type, ...Object.fromEntries(options) } as PeftConfig,
    tensor: (key: string) => expected.read(key).data as Float32Array,
    names: (prefix: string) => [...expected.tensors.keys()].filter((key) => key.startsWith(prefix)),
    adapter: join(root, name, "adapter"),
    /** Scores behind the tokens of the answers, without those behind padding. */
    real: (values: Float32Array) =>
      Float32Array.from(
        labels.flatMap((row, b) =>
          row
            .slice(0, row.findLastIndex((label) => label !== -100) + 1)
            .flatMap((_, t) => [
              ...values.subarray((b * row.length + t) * 61, (b * row.length + t + 1) * 61),
            ]),
        ),
      ),
  };
}

const encoderKey = (name: string): string => name.replace(/^prompt_encoder\.\w+\./, "");

test("every method with virtual tokens is compared on an encoder with a decoder", () => {
  const compared = new Set(names.map((name) => factsOf(name).peft_type));
  for (const { name, sites } of Object.values(methods))
    if ((sites as readonly string[]).includes("model")) expect(compared, name).toContain(name);
});

test("a start from a text: the tokens of Hugging Face's tokenizer, over and over", async () => {
  const folder = join(temporary, "with-tokenizer");
  cpSync(join(fixturesFolder, "seq2seq", "t5", "model"), folder, { recursive: true });
  cpSync(join(fixturesFolder, "seq2seq", "tokenizer"), folder, { recursive: true });
  const encoded = JSON.parse(readFileSync(join(folder, "encoded.json"), "utf8")) as {
    text: string;
    ids: number[];
  }[];
  const { text, ids } = encoded.find((one) => one.text === "a")!;
  const base = await AutoModelForSeq2SeqLM.fromPretrained(folder, { engine });
  const start = { promptTuningInit: "TEXT", promptTuningInitText: text } as const;
  const model = await getPeftModel(base, { peftType: "PROMPT_TUNING", numVirtualTokens: 4, ...start });
  const { data } = model.trainableParameters()[0]!;
  const table = base.module.inputEmbedding!.weight.data;
  const rows = Array.from({ length: 8 }, (_, i) => ids[i % ids.length]!);
  expect([...data]).toEqual(rows.flatMap((id) => [...table.subarray(id * 16, (id + 1) * 16)]));
  await base.close();
});

test("prefixes for a decoder with more layers than the encoder", async () => {
  const config = JSON.parse(readFileSync(join(root, "models", "t5-even", "config.json"), "utf8")) as Record<
    string,
    unknown
  >;
  const base = await AutoModelForSeq2SeqLM.fromConfig({ ...config, num_decoder_layers: 3 }, { engine });
  const model = await getPeftModel(base, { peftType: "PREFIX_TUNING", numVirtualTokens: 2 });
  expect(model.adapter().config).toMatchObject({ numLayers: 3, numTransformerSubmodules: 2 });
  expect(model.trainableParameters()[0]!.shape).toEqual([2, 3 * 2 * 18]);
  await base.close();
});

describe.each(names)("%s", (name) => {
  test.each([Infinity, 0])(
    "logits, gradients and tensors after five steps; %s bytes kept",
    async (activationBytes) => {
      const opened = await open(name, activationBytes);
      const { base, config, batch, facts, tensor, real, adapter } = opened;
      const plain = await base.forward(batch);
      const model = await getPeftModel(base, config);
      const trained = model.trainableParameters();
      expect(trained.map((p) => `start.${encoderKey(p.name)}`).sort()).toEqual(opened.names("start.").sort());
      for (const p of trained) p.data.set(tensor(`start.${encoderKey(p.name)}`));
      const { logits, loss } = await model.forward(batch);
      expect(logits.dims).toEqual([3, 7, 61]);
      expectClose("logits", real(logits.data), real(tensor("logits")));
      expectClose("loss", [loss!], [facts.losses[0]!]);

      const losses: number[] = [];
      const optimizer = new AdamW(trained, {
        learningRate: facts.learning_rate,
        weightDecay: facts.weight_decay,
      });
      for (let step = 0; step < 5; step += 1) {
        losses.push((await model.backward(batch)).loss);
        if (step === 0)
          for (const p of trained)
            expectClose(`gradient of ${p.name}`, p.grad!, tensor(`grad.${encoderKey(p.name)}`), {
              absolute: 1e-5,
              relative: 1e-3,
            });
        await optimizer.step();
        optimizer.zeroGrad();
      }
      expectClose("losses", losses, facts.losses);
      expect(losses[4]).toBeLessThan(losses[0]!);
      for (const p of trained) {
        // Where a gradient is noise, Adam makes a full step of its sign; where there is none, decay alone moves the entry.
        const gradient = tensor(`grad.${encoderKey(p.name)}`);
        const clear = (values: Float32Array) =>
          values.map((v, i) => (Math.abs(gradient[i]!) > 1e-5 || gradient[i] === 0 ? v : 0));
        expectClose(p.name, clear(p.data), clear(tensor(`trained.${encoderKey(p.name)}`)));
      }
      const after = await model.forward(batch);
      expectClose("logits after training", real(after.logits.data), real(tensor("trained.logits")), {
        absolute: 5e-4,
      });

      const folder = mkdtempSync(join(temporary, "adapter-"));
      await model.savePretrained(folder);
      const [ours, theirs] = await Promise.all(
        [folder, adapter].map((path) => openSafetensors(join(path, "adapter_model.safetensors"))),
      );
      expect([...ours!.tensors.keys()].sort()).toEqual([...theirs!.tensors.keys()].sort());
      for (const [key, { shape }] of theirs!.tensors) {
        expect(ours!.tensors.get(key)!.shape).toEqual(shape);
        const [mine, other] = [ours!, theirs!].map((file) => file.read(key).data as Float32Array);
        expectClose(`saved ${key}`, mine!, other!, { absolute: 1e-3 });
      }
      const json = (path: string): Record<string, unknown> =>
        JSON.parse(readFileSync(join(path, "adapter_config.json"), "utf8")) as Record<string, unknown>;
      const { peft_version: _version, ...written } = json(adapter);
      expect(json(folder)).toEqual({ ...written, base_model_name_or_path: expect.any(String) });

      // The saved folder is the same adapter, and the base is what it was.
      await model.disableAdapters();
      expect((await model.forward(batch)).logits.data).toEqual(plain.logits.data);
      model.deleteAdapter("default");
      const again = await PeftModel.fromPretrained(base, folder);
      const loaded = (await again.forward(batch)).logits.data;
      expectClose("logits of the saved folder", loaded, after.logits.data, { absolute: 1e-5 });
      expect(base.runner.pool.inUse).toBe(0);
      await base.close();
    },
  );

  test("what Hugging Face saved: logits, greedy answers with a cache, no merge", async () => {
    const { base, batch, facts, tensor, real, adapter } = await open(name);
    const model = await PeftModel.fromPretrained(base, adapter);
    const { logits } = await model.forward(batch);
    expectClose("logits", real(logits.data), real(tensor("trained.logits")));
    const prompts = facts.batch.input_ids.map((row, b) =>
      row.filter((_, t) => facts.batch.attention_mask[b]![t] === 1),
    );
    const taskIds = facts.batch.task_ids;
    const answers = await generate(base, prompts, { maxNewTokens: 8, taskIds });
    expect(answers.map(({ tokens }) => tokens)).toEqual(facts.answers);
    for (const [i, prompt] of prompts.entries()) {
      const [alone] = await generate(base, [prompt], { maxNewTokens: 8, taskIds: taskIds && [taskIds[i]!] });
      expect(alone!.tokens).toEqual(facts.answers[i]);
    }
    await expect(model.mergeAndUnload()).rejects.toMatchObject({ code: "cannot_merge" });
    await base.close();
  });
});
