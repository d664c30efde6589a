import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import {
  AdamW,
  AutoModel,
  AutoModelForMaskedLM,
  AutoModelForQuestionAnswering,
  AutoModelForSequenceClassification,
  AutoModelForTokenClassification,
  openSafetensors,
  PeftModel,
} from "../../src/index.js";
import { expectClose } from "../support/close.js";
import { fixturesFolder } from "../support/fixture.js";
import { meanSquare } from "../support/task-outputs.js";

const autos = {
  SEQ_CLS: AutoModelForSequenceClassification,
  TOKEN_CLS: AutoModelForTokenClassification,
  QUESTION_ANS: AutoModelForQuestionAnswering,
  FEATURE_EXTRACTION: AutoModel,
  MASKED_LM: AutoModelForMaskedLM,
};
type Task = keyof typeof autos;

interface Facts {
  readonly task: Task;
  readonly batch: Record<string, number[][] | number[]>;
  readonly losses: number[];
  readonly learning_rate: number;
  readonly weight_decay: number;
}

const root = join(fixturesFolder, "tasks");
const names = readdirSync(root);
const folders: string[] = [];
afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true });
});

async function open(name: string, options: { activationBytes?: number } = {}) {
  const folder = join(root, name);
  const facts = JSON.parse(readFileSync(join(folder, "facts.json"), "utf8")) as Facts;
  const expected = await openSafetensors(join(folder, "expected.safetensors"));
  const base = await autos[facts.task].fromPretrained(join(folder, "model"), options);
  const raw = facts.batch;
  const batch = {
    inputIds: raw["input_ids"] as number[][],
    attentionMask: raw["attention_mask"] as number[][],
    tokenTypeIds: raw["token_type_ids"] as number[][] | undefined,
    labels: raw["labels"] as never,
    startPositions: raw["start_positions"] as number[] | undefined,
    endPositions: raw["end_positions"] as number[] | undefined,
    ...(facts.task === "FEATURE_EXTRACTION" ? { lossOf: meanSquare } : {}),
  };
  const tensor = (key: string) => expected.read(key).data as Float32Array;
  const keys = (prefix: string) => [...expected.tensors.keys()].filter((key) => key.startsWith(prefix));
  return { facts, base, batch, tensor, keys, adapter: join(folder, "adapter") };
}

const OUTPUTS = {
  logits: "logits",
  startLogits: "start_logits",
  endLogits: "end_logits",
  lastHiddenState: "last_hidden_state",
  poolerOutput: "pooler_output",
};

/** Compares every output with the reference, padding left out. */
async function compareOutputs(
  model: { forward(batch: never): Promise<unknown> },
  { batch, tensor, keys }: Awaited<ReturnType<typeof open>>,
  stage: string,
  absolute = 1e-4,
): Promise<void> {
  const out = (await model.forward(batch as never)) as Record<string, { data: Float32Array } | number>;
  const mask = batch.attentionMask.flat();
  const compared: string[] = [];
  for (const [ours, theirs] of Object.entries(OUTPUTS)) {
    if (!keys(`${stage}.`).includes(`${stage}.${theirs}`)) continue;
    const expected = tensor(`${stage}.${theirs}`);
    const { data } = out[ours] as { data: Float32Array };
    expect(data.length, ours).toBe(expected.length);
    const width = expected.length / mask.length;
    const perToken = theirs !== "pooler_output" && Number.isInteger(width) && width > 0;
    // The loss for questions does not depend on the bias of the head, so its gradient is noise that Adam makes full steps of.
    const shifted = stage === "merged" && ["startLogits", "endLogits"].includes(ours);
    const real = (values: Float32Array) => {
      const kept = perToken ? values.filter((_, i) => mask[Math.floor(i / width)] === 1) : values;
      const mean = shifted ? kept.reduce((sum, value) => sum + value, 0) / kept.length : 0;
      return kept.map((value) => value - mean);
    };
    expectClose(ours, real(data), real(expected), { absolute });
    compared.push(ours);
  }
  expect(compared.length).toBeGreaterThan(0);
  if (keys(`${stage}.loss`).length > 0)
    expectClose("loss", [out["loss"] as number], tensor(`${stage}.loss`), { absolute });
}

describe.each(names)("%s", (name) => {
  test("base: outputs and loss", async () => {
    const fixture = await open(name);
    await compareOutputs(fixture.base, fixture, "base");
    await fixture.base.close();
  });

  test("full fine-tuning: the gradient of every weight", async () => {
    const { base, batch, tensor, keys } = await open(name);
    base.setTrainable(true);
    await base.backward(batch as never);
    const found = [...base.namedParameters()].filter(({ grad }) => grad !== undefined);
    expect(found.map((p) => `full.grad.${p.name}`).sort()).toEqual(keys("full.grad.").sort());
    for (const p of found) {
      expectClose(p.name, p.grad!, tensor(`full.grad.${p.name}`), { absolute: 1e-5, relative: 1e-3 });
    }
    expect(base.runner.pool.inUse).toBe(0);
    await base.close();
  });

  test.each([Infinity, 0])(
    "adapter and head: outputs, gradients and weights after five steps, %s bytes kept",
    async (activationBytes) => {
      const fixture = await open(name, { activationBytes });
      const { base, batch, facts, tensor, keys } = fixture;
      const model = await PeftModel.fromPretrained(base, fixture.adapter, { isTrainable: true });
      await compareOutputs(model, fixture, "adapter");
      await model.backward(batch as never);
      const trained = model.trainableParameters();
      expect(trained.map((p) => `adapter.grad.${p.name}`).sort()).toEqual(keys("adapter.grad.").sort());
      for (const p of trained) {
        const expected = tensor(`adapter.grad.${p.name}`);
        expectClose(p.name, p.grad!, expected, { absolute: 1e-5, relative: 1e-3 });
        p.grad = undefined;
      }
      const optimizer = new AdamW(trained, {
        learningRate: facts.learning_rate,
        weightDecay: facts.weight_decay,
      });
      const losses: number[] = [];
      for (let step = 0; step < 5; step += 1) {
        losses.push((await model.backward(batch as never)).loss);
        await optimizer.step();
        optimizer.zeroGrad();
      }
      expectClose("losses", losses, facts.losses);
      for (const p of trained) {
        // Where a gradient is noise, Adam makes a full step of its sign: only entries above noise are compared.
        const gradient = tensor(`adapter.grad.${p.name}`);
        const clear = (values: Float32Array) => values.map((v, i) => (Math.abs(gradient[i]!) > 1e-5 ? v : 0));
        expectClose(p.name, clear(p.data), clear(tensor(`trained.${p.name}`)));
      }
      const merged = await model.mergeAndUnload();
      await compareOutputs(merged, fixture, "merged", 2e-3);
      const folder = mkdtempSync(join(tmpdir(), "peft-"));
      folders.push(folder);
      await merged.savePretrained(folder);
      const again = await autos[facts.task].fromPretrained(folder);
      await compareOutputs(again, fixture, "merged", 2e-3);
      await again.close();
      await base.close();
    },
  );

  test("saved adapter and head are the file of Python, tensor by tensor", async () => {
    const fixture = await open(name);
    const model = await PeftModel.fromPretrained(fixture.base, fixture.adapter);
    const folder = mkdtempSync(join(tmpdir(), "peft-"));
    folders.push(folder);
    await model.savePretrained(folder);
    const [ours, theirs] = await Promise.all(
      [folder, fixture.adapter].map((path) => openSafetensors(join(path, "adapter_model.safetensors"))),
    );
    expect([...ours!.tensors.keys()].sort()).toEqual([...theirs!.tensors.keys()].sort());
    for (const key of ours!.tensors.keys()) expect(ours!.read(key)).toEqual(theirs!.read(key));
    const config = JSON.parse(readFileSync(join(folder, "adapter_config.json"), "utf8")) as Record<
      string,
      unknown
    >;
    // Hugging Face has no name for masked language models.
    expect(config["task_type"]).toBe(fixture.facts.task === "MASKED_LM" ? null : fixture.facts.task);
    await fixture.base.close();
  });
});
