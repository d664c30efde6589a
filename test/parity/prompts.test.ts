import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import {
  AdamW,
  AutoModelForCausalLM,
  type Batch,
  createEngine,
  type Engine,
  generate,
  getPeftModel,
  openSafetensors,
  type PeftConfig,
  PeftModel,
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
  readonly prompts: number[][];
  readonly answers: number[][];
  readonly losses: number[];
  readonly learning_rate: number;
  readonly weight_decay: number;
}

const root = join(fixturesFolder, "prompts");
const names = readdirSync(root).sort();

let engine: Promise<Engine> | undefined;
const folders: string[] = [];
afterAll(async () => {
  await (await engine)?.close();
  for (const folder of folders) rmSync(folder, { recursive: true });
});

async function open(name: string, activationBytes?: number) {
  engine ??= createEngine();
  const facts = JSON.parse(readFileSync(join(root, name, "facts.json"), "utf8")) as Facts;
  const expected = await openSafetensors(join(root, name, "expected.safetensors"));
  const model = join(fixturesFolder, facts.base, "model");
  const base = await AutoModelForCausalLM.fromPretrained(model, { engine: await engine, activationBytes });
  const options = Object.fromEntries(
    Object.entries(facts.options).map(([key, value]) => [toCamelCase(key), value]),
  );
  const { batch } = facts;
  return {
    facts,
    base,
    config: { peftType: facts.peft_type, ...options } as PeftConfig,
    tensor: (key: string) => expected.read(key).data as Float32Array,
    names: (prefix: string) => [...expected.tensors.keys()].filter((key) => key.startsWith(prefix)),
    adapter: join(root, name, "adapter"),
    batch: {
      inputIds: batch.input_ids,
      attentionMask: batch.attention_mask,
      labels: batch.labels,
      ...(batch.task_ids === undefined ? {} : { taskIds: batch.task_ids }),
    } as Batch,
    /** Rows of the padded logits that belong to real tokens. */
    real: (values: Float32Array) =>
      Float32Array.from(
        batch.attention_mask
          .flat()
          .flatMap((real, i) => (real === 1 ? [...values.subarray(i * 97, (i + 1) * 97)] : [])),
      ),
  };
}

/** The part of a live name that Hugging Face's prompt encoder has too. */
const encoderKey = (name: string): string => name.replace(/^prompt_encoder\.\w+\./, "");

test("every method with virtual tokens has two cases or more, on two kinds of model", async () => {
  const cases = await Promise.all(names.map((name) => open(name)));
  for (const { base } of cases) await base.close();
  for (const { name, sites } of Object.values(methods)) {
    if (!(sites as readonly string[]).includes("model")) continue;
    const mine = cases.filter(({ facts }) => facts.peft_type === name);
    expect(new Set(mine.map(({ base }) => base.modelType)).size, name).toBeGreaterThan(1);
  }
});

describe.each(names)("%s", (name) => {
  test.each([
    ["all products kept", Infinity],
    ["everything computed again", 0],
  ] as const)("logits, gradients and tensors after five steps; %s", async (_, activationBytes) => {
    const { base, config, batch, facts, tensor, names, real, adapter } = await open(name, activationBytes);
    const plain = await base.forward(batch);
    const model = await getPeftModel(base, config);
    const trained = model.trainableParameters();
    expect(trained.map((p) => `start.${encoderKey(p.name)}`).sort()).toEqual(names("start.").sort());
    for (const p of trained) p.data.set(tensor(`start.${encoderKey(p.name)}`));
    const { logits } = await model.forward(batch);
    expect(logits.dims).toEqual([3, 11, 97]);
    expectClose("logits", real(logits.data), real(tensor("logits")));

    const losses: number[] = [];
    const optimizer = new AdamW(trained, {
      learningRate: facts.learning_rate,
      weightDecay: facts.weight_decay,
    });
    for (let step = 0; step < 5; step += 1) {
      losses.push((await model.backward(batch)).loss);
      if (step === 0) {
        for (const p of trained) {
          const key = encoderKey(p.name);
          expectClose(`gradient of ${key}`, p.grad!, tensor(`grad.${key}`), {
            absolute: 1e-5,
            relative: 1e-3,
          });
        }
      }
      await optimizer.step();
      optimizer.zeroGrad();
    }
    expectClose("losses", losses, facts.losses);
    expect(losses[4]).toBeLessThan(losses[0]!);
    for (const p of trained) {
      // Where a gradient is noise, Adam makes a full step of its sign: only entries above noise are compared.
      const key = encoderKey(p.name);
      const gradient = tensor(`grad.${key}`);
      const clear = (values: Float32Array) => values.map((v, i) => (Math.abs(gradient[i]!) > 1e-5 ? v : 0));
      expectClose(key, clear(p.data), clear(tensor(`trained.${key}`)));
    }
    const after = await model.forward(batch);
    expectClose("logits after training", real(after.logits.data), real(tensor("trained.logits")), {
      absolute: 2e-4,
    });

    const folder = mkdtempSync(join(tmpdir(), "peft-prompts-"));
    folders.push(folder);
    await model.savePretrained(folder);
    const [ours, theirs] = await Promise.all(
      [folder, adapter].map((path) => openSafetensors(join(path, "adapter_model.safetensors"))),
    );
    expect([...ours!.tensors.keys()].sort()).toEqual([...theirs!.tensors.keys()].sort());
    for (const key of theirs!.tensors.keys()) {
      expect(ours!.tensors.get(key)!.shape).toEqual(theirs!.tensors.get(key)!.shape);
      expectClose(
        `saved ${key}`,
        ours!.read(key).data as Float32Array,
        theirs!.read(key).data as Float32Array,
        {
          absolute: 1e-3,
        },
      );
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
    expectClose("logits of the saved folder", (await again.forward(batch)).logits.data, after.logits.data, {
      absolute: 1e-5,
    });
    expect(base.runner.pool.inUse).toBe(0);
    await base.close();
  });

  test("what Hugging Face saved: logits, greedy answers with a cache, no merge", async () => {
    const { base, batch, facts, tensor, real, adapter } = await open(name);
    const model = await PeftModel.fromPretrained(base, adapter);
    const { logits } = await model.forward(batch);
    expectClose("logits", real(logits.data), real(tensor("trained.logits")));
    const tasks = batch.taskIds === undefined ? undefined : [1, 0];
    const wishes = { maxNewTokens: 8, stopTokens: [] };
    const answers = await generate(base, facts.prompts, { ...wishes, taskIds: tasks });
    expect(answers.map(({ tokens }) => tokens)).toEqual(facts.answers);
    // Each answer alone, and the last token of whole rows without a cache, say the same.
    for (const [i, prompt] of facts.prompts.entries()) {
      const own = tasks && { taskIds: [tasks[i]!] };
      const [alone] = await generate(base, [prompt], { ...wishes, ...own });
      expect(alone!.tokens).toEqual(facts.answers[i]);
      // Every step as a row of its own, since dynamic positions depend on its length.
      for (const [t, token] of facts.answers[i]!.entries()) {
        const row = [...prompt, ...facts.answers[i]!.slice(0, t)];
        const { data } = (await model.forward({ inputIds: [row], ...own })).logits;
        const last = [...data.subarray(-97)];
        expect(last.indexOf(Math.max(...last))).toBe(token);
      }
    }
    await expect(model.mergeAndUnload()).rejects.toMatchObject({ code: "cannot_merge" });
    await base.close();
  });
});
