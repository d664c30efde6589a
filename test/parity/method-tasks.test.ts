import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  AdamW,
  AutoModelForSequenceClassification,
  createEngine,
  type Engine,
  openSafetensors,
  PeftModel,
} from "../../src/index.js";
import { methods } from "../../src/methods/index.js";
import { expectClose } from "../support/close.js";
import { expectConverted } from "../support/converted.js";
import { fixturesFolder } from "../support/fixture.js";
import { toTaskBatch } from "../support/task-outputs.js";

interface Facts {
  readonly base: string;
  readonly peft_type: string;
  readonly batch: Readonly<Record<string, number[][] | number[]>>;
  readonly losses: number[];
  readonly learning_rate: number;
  readonly weight_decay: number;
}

const root = join(fixturesFolder, "method-tasks");
const names = readdirSync(root).sort();
const readJson = (...path: string[]): unknown => JSON.parse(readFileSync(join(...path), "utf8"));
const readFacts = (name: string): Facts => readJson(root, name, "facts.json") as Facts;
/** Methods of other packages have their reference elsewhere. */
const FROM_ELSEWHERE = /_BN$|^COMPACTER/;

let engine: Engine;
const temporary = mkdtempSync(join(tmpdir(), "peft-method-tasks-"));
beforeAll(async () => {
  engine = await createEngine();
});
afterAll(async () => {
  await engine.close();
  rmSync(temporary, { recursive: true });
});

/** Python trains biases of the base in place, so they keep their name there. */
const inPython = (name: string): string => name.replace(/\.bias\.default$/, ".bias");

test("every method that adapts modules is checked on an encoder with a head", () => {
  const covered = new Set(names.map((name) => readFacts(name).peft_type));
  const own = Object.values(methods).filter(
    ({ name, sites }) => !(sites as readonly string[]).includes("model") && !FROM_ELSEWHERE.test(name),
  );
  expect(own.map(({ name }) => name).filter((name) => !covered.has(name))).toEqual([]);
});

describe.each(names)("%s", (name) => {
  const facts = readFacts(name);
  const adapter = join(root, name, "adapter");
  const batch = toTaskBatch(facts.batch);
  const open = () =>
    AutoModelForSequenceClassification.fromPretrained(join(fixturesFolder, "tasks", facts.base, "model"), {
      engine,
    });

  test("outputs, gradients, five steps, merged", async () => {
    const expected = await openSafetensors(join(root, name, "expected.safetensors"));
    const tensor = (key: string): Float32Array => expected.read(key).data as Float32Array;
    const base = await open();
    const logits = async (): Promise<Float32Array> => (await base.forward(batch as never)).logits.data;
    const model = await PeftModel.fromPretrained(base, adapter, { isTrainable: true });
    expectClose("logits", await logits(), tensor("fresh.logits"));
    const trained = model.trainableParameters();
    const gradients = [...expected.tensors.keys()].filter((key) => key.startsWith("grad."));
    expect(trained.map((p) => `grad.${inPython(p.name)}`).sort()).toEqual(gradients.sort());
    const losses: number[] = [];
    const { learning_rate: learningRate, weight_decay: weightDecay } = facts;
    const optimizer = new AdamW(trained, { learningRate, weightDecay });
    for (let step = 1; step <= 5; step += 1) {
      losses.push((await model.backward(batch as never)).loss);
      if (step === 1)
        for (const { name: own, grad } of trained)
          expectClose(`gradient of ${own}`, grad!, tensor(`grad.${inPython(own)}`), {
            absolute: 1e-5,
            relative: 1e-3,
          });
      await optimizer.step();
      model.afterStep({ step, totalSteps: 5 });
      optimizer.zeroGrad();
    }
    expectClose("losses", losses, facts.losses);
    for (const { name: own, data } of trained) {
      // Where a gradient is noise, Adam makes a full step of its sign: only entries above noise are compared.
      const gradient = tensor(`grad.${inPython(own)}`);
      const clear = (values: Float32Array) => values.map((v, i) => (Math.abs(gradient[i]!) > 1e-4 ? v : 0));
      expectClose(`trained ${own}`, clear(data), clear(tensor(`trained.${inPython(own)}`)), {
        absolute: 5e-4,
      });
    }
    // Put where Python arrived, so that what is compared is the merge alone.
    for (const { name: own, data } of trained) data.set(tensor(`trained.${inPython(own)}`));
    await model.mergeAndUnload();
    expectClose("merged", await logits(), tensor("merged.logits"));
    await base.close();
  });

  const converted = existsSync(join(adapter, "converted"));
  test.runIf(converted)("saves an ordinary adapter, as Python does when asked to", async () => {
    const base = await open();
    const logits = async (): Promise<Float32Array> => (await base.forward(batch as never)).logits.data;
    await expectConverted(base, logits, { adapter, out: join(temporary, name), head: true });
    await base.close();
  });

  test.runIf(!converted)("saves what Python saved", async () => {
    const base = await open();
    const model = await PeftModel.fromPretrained(base, adapter);
    const out = join(temporary, name);
    await model.savePretrained(out);
    const [ours, theirs] = await Promise.all(
      [out, adapter].map((path) => openSafetensors(join(path, "adapter_model.safetensors"))),
    );
    // Python writes the weight of an adapted embedding too, and with bias all those of a head three times.
    const keys = [...theirs!.tensors.keys()].filter(
      (key) => !/\.base_layer\.weight$|\.original_module\.|\.modules_to_save\./.test(key),
    );
    expect([...ours!.tensors.keys()].sort()).toEqual(keys.sort());
    for (const key of keys) expect(ours!.read(key), key).toEqual(theirs!.read(key));
    const python = readJson(adapter, "adapter_config.json") as Record<string, unknown>;
    const written = readJson(out, "adapter_config.json") as Record<string, unknown>;
    const free = [
      "auto_mapping",
      "base_model_name_or_path",
      "peft_version",
      "inference_mode",
      "modules_to_save",
    ];
    for (const [key, value] of Object.entries(python))
      if (!free.includes(key)) expect(written[key], key).toEqual(value);
    // Hugging Face lists the names of all heads that there might be.
    for (const path of (written["modules_to_save"] ?? []) as string[])
      expect(
        (python["modules_to_save"] as string[]).some((head) => path.endsWith(head)),
        path,
      ).toBe(true);
    await base.close();
  });
});
