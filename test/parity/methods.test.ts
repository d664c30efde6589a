import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  AdamW,
  AutoModelForCausalLM,
  AutoModelForSeq2SeqLM,
  createEngine,
  type Engine,
  getPeftModel,
  openSafetensors,
  PeftModel,
} from "../../src/index.js";
import { methods } from "../../src/methods/index.js";
import type { MethodDefinition } from "../../src/methods/method.js";
import { readAdapterConfig } from "../../src/peft/hf-format.js";
import { expectClose } from "../support/close.js";
import { expectConverted } from "../support/converted.js";
import { type FixtureFacts, fixturesFolder, realTargets, toBatch } from "../support/fixture.js";

interface Manifest {
  readonly settings: {
    readonly learning_rate: number;
    readonly weight_decay: number;
    readonly steps: number;
  };
  readonly families: Readonly<Record<string, { readonly path: string; readonly task: keyof typeof autos }>>;
  readonly cases: readonly {
    readonly family: string;
    readonly case: string;
    readonly peft_type: string;
    readonly losses: readonly number[];
  }[];
}

const autos = { CAUSAL_LM: AutoModelForCausalLM, SEQ_2_SEQ_LM: AutoModelForSeq2SeqLM };

const root = join(fixturesFolder, "methods");
const readJson = (path: string): unknown => JSON.parse(readFileSync(path, "utf8"));
const { settings, families, cases } = readJson(join(root, "manifest.json")) as Manifest;

/** Python trains biases of the base in place, so they keep their name there. */
const inPython = (name: string): string => name.replace(/\.bias\.default$/, ".bias");

let engine: Engine;
const temporary = mkdtempSync(join(tmpdir(), "peft-methods-"));
beforeAll(async () => {
  engine = await createEngine({});
});
afterAll(async () => {
  await engine.close();
  rmSync(temporary, { recursive: true });
});

test("every method has a case", () => {
  const covered = new Set(cases.map(({ peft_type }) => peft_type));
  // Those with virtual tokens have theirs in prompts.test.ts, those of AdapterHub in adapterhub.test.ts.
  const own = Object.values(methods).filter(
    ({ sites }) => !sites.some((site) => ["model", "block"].includes(site)),
  );
  expect(own.map(({ name }) => name).filter((name) => !covered.has(name))).toEqual([]);
});

describe.each(Object.entries(families))("%s", (family, { path, task }) => {
  const facts = readJson(join(fixturesFolder, path, "facts.json")) as FixtureFacts;
  const batch = toBatch(facts.batch);
  const mask = task === "SEQ_2_SEQ_LM" ? realTargets(facts.batch) : facts.batch.attention_mask;
  const real = mask.flat().flatMap((one, i) => (one === 1 ? [i] : []));

  const open = () => autos[task].fromPretrained(join(fixturesFolder, path, "model"), { engine });
  type Base = Awaited<ReturnType<typeof open>>;
  const scores = async (base: Base): Promise<Float32Array> => {
    const { data, dims } = (await base.forward(batch)).logits;
    const width = dims[2]!;
    return Float32Array.from(real.flatMap((i) => [...data.subarray(i * width, (i + 1) * width)]));
  };

  describe.each(cases.filter((entry) => entry.family === family))("$case", (entry) => {
    const folder = join(root, family, entry.case);
    const method = methods[entry.peft_type as keyof typeof methods] as unknown as MethodDefinition;
    const python = readJson(join(folder, "adapter_config.json")) as Record<string, unknown>;
    const { config } = readAdapterConfig(python, "adapter_config.json");

    test("logits, gradients, losses, five steps, merged", async () => {
      const expected = await openSafetensors(join(folder, "expected.safetensors"));
      const tensor = (name: string): Float32Array => expected.read(name).data as Float32Array;
      const base = await open();
      const model = await PeftModel.fromPretrained(base, folder, { isTrainable: true });
      expectClose("logits", await scores(base), tensor("logits"));
      const trained = model.trainableParameters();
      const names = [...expected.tensors.keys()].filter((name) => name.startsWith("grad."));
      expect(trained.map(({ name }) => `grad.${inPython(name)}`).sort()).toEqual(names.sort());
      await model.backward(batch);
      for (const { name, grad } of trained) {
        expectClose(`gradient of ${name}`, grad!, tensor(`grad.${inPython(name)}`), {
          absolute: 1e-5,
          relative: 1e-3,
        });
      }
      for (const parameter of trained) parameter.grad = undefined;
      const optimizer = new AdamW(trained, {
        learningRate: settings.learning_rate,
        weightDecay: settings.weight_decay,
      });
      const losses: number[] = [];
      for (let step = 1; step <= settings.steps; step += 1) {
        losses.push((await model.backward(batch)).loss);
        await optimizer.step();
        model.afterStep({ step, totalSteps: settings.steps });
        optimizer.zeroGrad();
      }
      expectClose("losses", losses, entry.losses);
      for (const { name, data } of trained) {
        // Where a gradient is noise, Adam makes a full step of its sign: only entries above noise are compared.
        const gradient = tensor(`grad.${inPython(name)}`);
        const clear = (values: Float32Array) => values.map((v, i) => (Math.abs(gradient[i]!) > 1e-4 ? v : 0));
        expectClose(`trained ${name}`, clear(data), clear(tensor(`trained.${inPython(name)}`)), {
          absolute: 5e-4,
        });
      }
      // Put where Python arrived, so that what is compared is the merge alone.
      for (const { name, data } of trained) data.set(tensor(`trained.${inPython(name)}`));
      await model.mergeAndUnload();
      expectClose("merged", await scores(base), tensor("merged"));
      await base.close();
    });

    const converted = existsSync(join(folder, "converted"));
    test.runIf(converted)("saves an ordinary adapter, as Python does when asked to", async () => {
      const base = await open();
      const out = join(temporary, family, entry.case);
      await expectConverted(base, () => scores(base), { adapter: folder, out });
      await base.close();
    });

    test.runIf(!converted)("saves what Python saved", async () => {
      const base = await open();
      const model = await PeftModel.fromPretrained(base, folder);
      const out = join(temporary, family, entry.case);
      await model.savePretrained(out);
      const [ours, theirs] = await Promise.all(
        [out, folder].map((path) => openSafetensors(join(path, "adapter_model.safetensors"))),
      );
      // Python writes the weight of an adapted embedding too.
      const keys = [...theirs!.tensors.keys()].filter((key) => !key.endsWith(".base_layer.weight"));
      expect([...ours!.tensors.keys()].sort()).toEqual(keys.sort());
      for (const key of keys) expect(ours!.read(key), key).toEqual(theirs!.read(key));
      const written = readJson(join(out, "adapter_config.json")) as Record<string, unknown>;
      const free = ["auto_mapping", "base_model_name_or_path", "peft_version", "inference_mode"];
      for (const [key, value] of Object.entries(python)) {
        if (!free.includes(key)) expect(written[key], key).toEqual(value);
      }
      await base.close();
    });

    test("a fresh one has the same tensors and starts as declared", async () => {
      const base = await open();
      const before = await scores(base);
      const model = await getPeftModel(base, config);
      const theirs = await openSafetensors(join(folder, "adapter_model.safetensors"));
      const { tensors, fixed } = model.adapter();
      expect(new Map([...tensors].map(([key, { shape }]) => [key, shape]))).toEqual(
        new Map(
          [...theirs.tensors].flatMap(([key, { shape }]) =>
            key.endsWith(".base_layer.weight") ? [] : [[key, shape] as const],
          ),
        ),
      );
      const options = model.adapter().config;
      const after = await scores(base);
      const off = Math.max(...after.map((v, i) => Math.abs(v - before[i]!)));
      if (method.identityStart(options)) expect(off).toBeLessThan(1e-4);
      else expect(off).toBeGreaterThan(1e-3);
      // Tensors that nobody trains are drawn as Python draws them.
      for (const [key, parameter] of tensors)
        if (fixed.has(parameter))
          expectClose(key, parameter.data, theirs.read(key).data as Float32Array, { absolute: 0 });
      await base.close();
    });
  });
});
