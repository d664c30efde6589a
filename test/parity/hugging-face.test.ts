import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import {
  AdamW,
  AutoModelForCausalLM,
  clipGradNorm,
  createEngine,
  type Engine,
  generate,
  getScheduler,
  openSafetensors,
  PeftModel,
} from "../../src/index.js";
import { scheduleFactor, type ScheduleName } from "../../src/train/schedule.js";
import { expectClose } from "../support/close.js";
import { fixtureNames, fixturesFolder, openFixture, toBatch } from "../support/fixture.js";

const engines = new Map<string, Promise<Engine>>();
const engineOf = (name: "ort-native" | "ort-node"): Promise<Engine> => {
  if (!engines.has(name)) engines.set(name, createEngine({ engine: name }));
  return engines.get(name)!;
};
const folders: string[] = [];
afterAll(async () => {
  for (const engine of engines.values()) await (await engine).close();
  for (const folder of folders) rmSync(folder, { recursive: true });
});

/** Rows of the padded logits that belong to real tokens. */
function realRows(values: Float32Array, mask: readonly (readonly number[])[], width: number): Float32Array {
  return Float32Array.from(
    mask.flat().flatMap((real, i) => (real === 1 ? [...values.subarray(i * width, (i + 1) * width)] : [])),
  );
}

/** Trains five steps the way the Python script did. */
async function trainFiveSteps(
  model: PeftModel,
  fixture: Awaited<ReturnType<typeof openFixture>>,
): Promise<number[]> {
  const { facts } = fixture;
  const optimizer = new AdamW(model.trainableParameters(), {
    learningRate: facts.learning_rate,
    weightDecay: facts.weight_decay,
  });
  const scheduler =
    facts.schedule === null
      ? undefined
      : getScheduler(facts.schedule, optimizer, { warmupSteps: 2, totalSteps: 5 });
  const losses: number[] = [];
  for (let step = 0; step < 5; step += 1) {
    const { loss } = await model.backward(toBatch(facts.batch));
    losses.push(loss);
    if (facts.clip !== null) clipGradNorm(model.trainableParameters(), facts.clip);
    await optimizer.step();
    scheduler?.step();
    optimizer.zeroGrad();
  }
  return losses;
}

describe.each(["ort-native", "ort-node"] as const)("%s", (engineName) => {
  describe.each(fixtureNames)("%s", (name) => {
    const open = async (activationBytes?: number) => {
      const fixture = await openFixture(name);
      const engine = await engineOf(engineName);
      const base = await AutoModelForCausalLM.fromPretrained(fixture.model, { engine, activationBytes });
      return { fixture, base };
    };

    test("base: logits and loss, padded on either side", async () => {
      const { fixture, base } = await open();
      for (const [side, raw] of [
        ["base", fixture.facts.batch],
        ["base.left", fixture.facts.left],
      ] as const) {
        const { logits, loss } = await base.forward(toBatch(raw));
        expect(logits.dims).toEqual([3, 11, 97]);
        const mask = raw.attention_mask;
        expectClose(
          `${side} logits`,
          realRows(logits.data, mask, 97),
          realRows(fixture.tensor(`${side}.logits`), mask, 97),
        );
        expect(loss).toBeCloseTo(fixture.tensor(`${side}.loss`)[0]!, 4);
      }
      await base.close();
    });

    test("greedy answers, with and without the adapter, several prompts at once", async () => {
      const { fixture, base } = await open();
      const { prompts, answers } = fixture.facts;
      const greedy = async () =>
        (await generate(base, prompts, { maxNewTokens: 8, stopTokens: [] })).map(({ tokens }) => tokens);
      expect(await greedy()).toEqual(answers.base);
      const model = await PeftModel.fromPretrained(base, fixture.adapter);
      expect(await greedy()).toEqual(answers.adapter);
      expect(await model.withoutAdapter(greedy)).toEqual(answers.base);
      await base.close();
    });

    test.each([
      ["all products kept", Infinity],
      ["everything computed again", 0],
    ] as const)("adapter: logits, gradients and weights after five steps; %s", async (_, activationBytes) => {
      const { fixture, base } = await open(activationBytes);
      const model = await PeftModel.fromPretrained(base, fixture.adapter, { isTrainable: true });
      const batch = toBatch(fixture.facts.batch);
      const mask = fixture.facts.batch.attention_mask;
      const { logits } = await model.forward(batch);
      expectClose(
        "logits",
        realRows(logits.data, mask, 97),
        realRows(fixture.tensor("adapter.logits"), mask, 97),
      );
      await model.backward(batch);
      const trained = model.trainableParameters();
      expect(trained.map((p) => `adapter.grad.${p.name}`).sort()).toEqual(
        fixture.names("adapter.grad.").sort(),
      );
      for (const p of trained) {
        expectClose(`gradient of ${p.name}`, p.grad!, fixture.tensor(`adapter.grad.${p.name}`), {
          absolute: 1e-5,
          relative: 1e-3,
        });
        p.grad = undefined;
      }
      const losses = await trainFiveSteps(model, fixture);
      expectClose("losses", losses, fixture.facts.losses);
      for (const p of trained) {
        // Where a gradient is noise, Adam makes a full step of its sign: only entries above noise are compared.
        const gradient = fixture.tensor(`adapter.grad.${p.name}`);
        const clear = (values: Float32Array) => values.map((v, i) => (Math.abs(gradient[i]!) > 1e-5 ? v : 0));
        expectClose(p.name, clear(p.data), clear(fixture.tensor(`trained.${p.name}`)));
      }
      expect(base.runner.pool.inUse).toBe(0);
      await base.close();
    });

    test("saved adapter is the file of Python, tensor by tensor", async () => {
      const { fixture, base } = await open();
      const model = await PeftModel.fromPretrained(base, fixture.adapter);
      const folder = mkdtempSync(join(tmpdir(), "peft-"));
      folders.push(folder);
      await model.savePretrained(folder);
      const [ours, theirs] = await Promise.all(
        [folder, fixture.adapter].map((path) => openSafetensors(join(path, "adapter_model.safetensors"))),
      );
      // Python repeats weights of the base beside adapters of an embedding; ours does not.
      const modulesToSave = [...fixture.names("trained.")].some((key) => key.includes("modules_to_save"));
      const extra = [...theirs!.tensors.keys()].filter((key) => !modulesToSave && !key.includes("lora_"));
      expect([...ours!.tensors.keys()].sort()).toEqual(
        [...theirs!.tensors.keys()].filter((key) => !extra.includes(key)).sort(),
      );
      for (const key of ours!.tensors.keys()) expect(ours!.read(key)).toEqual(theirs!.read(key));
      const config = (path: string) =>
        JSON.parse(readFileSync(join(path, "adapter_config.json"), "utf8")) as Record<string, unknown>;
      const [a, b] = [config(folder), config(fixture.adapter)];
      for (const key of [
        "peft_type",
        "r",
        "lora_alpha",
        "use_rslora",
        "rank_pattern",
        "alpha_pattern",
        "fan_in_fan_out",
        "task_type",
      ]) {
        expect(a[key], key).toEqual(b[key]);
      }
      expect(new Set([a["target_modules"]].flat())).toEqual(new Set([b["target_modules"]].flat()));
      await base.close();
    });
  });
});

describe("merging", () => {
  // Hugging Face merges an adapter of a tied embedding into the head as well.
  test.each(fixtureNames.filter((name) => !["llama-linear", "gemma"].includes(name)))(
    "%s: merged logits, saved and opened again",
    async (name) => {
      const fixture = await openFixture(name);
      const batch = toBatch(fixture.facts.batch);
      const mask = fixture.facts.batch.attention_mask;
      const half = fixture.facts.stored_dtype !== "float32";
      const base = await AutoModelForCausalLM.fromPretrained(fixture.model, { dtype: "float32" });
      const model = await PeftModel.fromPretrained(base, fixture.adapter, { isTrainable: true });
      await trainFiveSteps(model, fixture);
      const merged = await model.mergeAndUnload();
      const expected = realRows(fixture.tensor("merged.logits"), mask, 97);
      const tolerance = { absolute: 2e-3 };
      expectClose(
        "merged",
        realRows((await merged.forward(batch)).logits.data, mask, 97),
        expected,
        tolerance,
      );
      const folder = mkdtempSync(join(tmpdir(), "peft-"));
      folders.push(folder);
      await merged.savePretrained(folder, { dtype: half ? "float32" : "auto" });
      const again = await AutoModelForCausalLM.fromPretrained(folder);
      expectClose(
        "opened again",
        realRows((await again.forward(batch)).logits.data, mask, 97),
        expected,
        tolerance,
      );
      await again.close();
      await base.close();
    },
  );
});

test.each(["llama", "qwen2"])("%s: full fine-tuning gradients of every weight", async (name) => {
  const fixture = await openFixture(name);
  const base = await AutoModelForCausalLM.fromPretrained(fixture.model);
  base.setTrainable(true);
  await base.backward(toBatch(fixture.facts.batch));
  const names = fixture.names("full.grad.");
  expect(
    base
      .trainableParameters()
      .map((p) => `full.grad.${p.name}`)
      .sort(),
  ).toEqual(names.sort());
  for (const p of base.trainableParameters()) {
    expectClose(p.name, p.grad!, fixture.tensor(`full.grad.${p.name}`), { absolute: 1e-5, relative: 1e-3 });
  }
  await base.close();
});

test("schedules", () => {
  const rates = JSON.parse(readFileSync(join(fixturesFolder, "schedules.json"), "utf8")) as Record<
    string,
    number[]
  >;
  for (const [key, expected] of Object.entries(rates)) {
    const [name, warmup] = key.split("/") as [ScheduleName, string];
    const ours = expected.map(
      (_, step) => 0.5 * scheduleFactor(name, step, { warmupSteps: Number(warmup), totalSteps: 20 }),
    );
    expectClose(key, ours, expected, { absolute: 1e-12 });
  }
});
