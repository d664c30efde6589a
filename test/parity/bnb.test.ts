import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import {
  AdamW,
  AutoModelForCausalLM,
  AutoModelForSeq2SeqLM,
  createEngine,
  type FromPretrainedOptions,
  generate,
  getPeftModel,
  type LanguageModel,
  openSafetensors,
  type PeftConfig,
  PeftModel,
  type QuantisationOptions,
  type RequantisedReport,
  takeSnapshot,
  verifyOnlyAdapterMoved,
  writeSafetensors,
} from "../../src/index.js";
import { turn } from "../../src/nn/coded-weight.js";
import { expectClose } from "../support/close.js";

const FIXTURES = join(import.meta.dirname, "../fixtures");

interface Facts {
  readonly source: string;
  readonly batch: {
    readonly input_ids: number[][];
    readonly attention_mask?: number[][];
    readonly labels: number[][];
  };
  readonly targets: string[];
  readonly codes: number;
}

const factsOf = (name: string): Facts =>
  JSON.parse(readFileSync(join(FIXTURES, "bnb", name, "facts.json"), "utf8")) as Facts;

const batchOf = ({ batch }: Facts) => ({
  inputIds: batch.input_ids,
  labels: batch.labels,
  ...(batch.attention_mask && { attentionMask: batch.attention_mask }),
});

async function open(name: string, path: string, options: FromPretrainedOptions = {}): Promise<LanguageModel> {
  const auto = name.startsWith("t5") ? AutoModelForSeq2SeqLM : AutoModelForCausalLM;
  return (await auto.fromPretrained(path, options)) as unknown as LanguageModel;
}

const quantised: Readonly<Record<string, Partial<QuantisationOptions>>> = {
  "llama-nf4": { loadIn4bit: true, bnb4bitUseDoubleQuant: true },
  "llama-fp4": { loadIn4bit: true, bnb4bitQuantType: "fp4" },
  "gpt2-nf4": { loadIn4bit: true, bnb4bitUseDoubleQuant: true },
  "t5-nf4": { loadIn4bit: true, bnb4bitUseDoubleQuant: true },
};

describe.each(Object.keys(quantised))("%s, quantised when it is loaded", (name) => {
  const facts = factsOf(name);
  const source = join(FIXTURES, facts.source, "model");

  test("keeps the same layers in the same codes as transformers with bitsandbytes", async () => {
    await using model = await open(name, source, quantised[name]);
    const file = await openSafetensors(join(FIXTURES, "bnb", name, "model/model.safetensors"));
    const coded = [...model.namedParameters()].filter(({ coded }) => coded !== undefined);
    const theirs = [...file.tensors.keys()].filter((key) => key.includes("quant_state"));
    expect(coded.map((one) => one.name).sort()).toEqual(
      theirs.map((key) => key.replace(/\.quant_state.*/, "")).sort(),
    );
    for (const parameter of coded) {
      const tensors = new Map(parameter.coded!.stored());
      const read = (suffix: string) => file.read(parameter.name.replace(/weight$/, suffix));
      for (const [suffix, tensor] of tensors) {
        const what = `${parameter.name} ${suffix}`;
        // The mean of the scales is summed in another order, and scales halfway between two codes go to either.
        if (suffix.includes("quant_state")) {
          const text = (bytes: Uint8Array): Record<string, unknown> =>
            JSON.parse(new TextDecoder().decode(bytes)) as Record<string, unknown>;
          const { nested_offset: ours, dtype: _, ...rest } = text(tensor.data as Uint8Array);
          const { nested_offset: offset, dtype: __, ...expected } = text(read(suffix).data as Uint8Array);
          expect(rest, what).toEqual(expected);
          if (offset !== undefined) expect(ours as number, what).toBeCloseTo(offset as number, 6);
          continue;
        } else if (suffix === "weight.nested_absmax") {
          expectClose(what, tensor.data as Float32Array, read(suffix).data as Float32Array, {
            absolute: 1e-6,
          });
        } else if (suffix === "weight.absmax" && tensors.has("weight.nested_absmax")) {
          expectClose(what, tensor.data as Uint8Array, read(suffix).data as Uint8Array, { absolute: 1 });
        } else {
          expect(tensor.data, what).toEqual(read(suffix).data);
        }
        expect([tensor.dtype, tensor.dims], what).toEqual([read(suffix).dtype, read(suffix).dims]);
      }
    }
    file.close();
  });

  test("computes what the codes stand for: scores, loss, gradients", async () => {
    const file = await openSafetensors(join(FIXTURES, "bnb", name, "expected.safetensors"));
    const expected = (key: string): Float32Array => file.read(key).data as Float32Array;
    await using model = await open(name, source, quantised[name]);
    const base = await model.forward(batchOf(facts));
    expect(base.loss).toBeCloseTo(expected("base.loss")[0]!, 3);
    const adapted = await PeftModel.fromPretrained(model, join(FIXTURES, "bnb", name, "adapter"), {
      isTrainable: true,
    });
    const { loss } = await adapted.backward(batchOf(facts));
    expect(loss).toBeCloseTo(expected("adapter.loss")[0]!, 3);
    const coded = [...model.namedParameters()].filter((one) => one.coded !== undefined);
    expect(coded.filter((one) => one.loaded)).toEqual([]);
    file.close();
  });
});

const stored = [...Object.keys(quantised), "llama-int8"];

describe.each(stored)("%s, as bitsandbytes stored it", (name) => {
  const facts = factsOf(name);
  const folder = join(FIXTURES, "bnb", name);
  const batch = batchOf(facts);

  test("is read in codes, and computes what they stand for", async () => {
    const file = await openSafetensors(join(folder, "expected.safetensors"));
    const expected = (key: string): Float32Array => file.read(key).data as Float32Array;
    const warnings: string[] = [];
    await using model = await open(name, join(folder, "model"), { onWarning: (text) => warnings.push(text) });
    expect(warnings).toEqual([]);
    const coded = [...model.namedParameters()].filter((one) => one.coded !== undefined);
    expect(coded).toHaveLength(facts.codes);
    const base = await model.forward(batch);
    const theirs = expected("base.logits");
    const width = base.logits.dims.at(-1)!;
    // Rows of padding are zero here.
    const real = base.logits.data.map((value, i) =>
      (facts.batch.labels.flat()[Math.floor(i / width)] ?? 0) === -100 && value === 0 ? theirs[i]! : value,
    );
    expectClose("logits", real, theirs, { absolute: 5e-5, relative: 1e-5 });
    const adapted = await PeftModel.fromPretrained(model, join(folder, "adapter"), { isTrainable: true });
    const { loss } = await adapted.backward(batch);
    expect(loss).toBeCloseTo(expected("adapter.loss")[0]!, 5);
    for (const [key, { grad }] of adapted.adapter().tensors)
      expectClose(key, grad!, expected(`adapter.grad.${key}`), { absolute: 5e-5, relative: 1e-4 });
    expect(coded.filter((one) => one.loaded)).toEqual([]);
    file.close();
  });

  test("is merged into codes as PEFT merges, and read again as it was saved", async () => {
    const file = await openSafetensors(join(folder, "expected.safetensors"));
    await using model = await open(name, join(folder, "model"));
    const adapted = await PeftModel.fromPretrained(model, join(folder, "adapter"));
    const reports: RequantisedReport[] = [];
    const merged = await adapted.mergeAndUnload({ onRequantised: (report) => reports.push(report) });
    const names = [...file.tensors.keys()].filter((key) => key.startsWith("merged."));
    expect(reports.map(({ weights }) => weights)).toEqual([names.length]);
    expect(reports[0]!.error).toBeGreaterThan(0);
    expect(reports[0]!.error).toBeLessThan(name === "llama-int8" ? 0.01 : 0.15);
    const parameters = new Map([...merged.namedParameters()].map((one) => [one.name, one]));
    for (const key of names) {
      const parameter = parameters.get(key.slice("merged.".length))!;
      const { coded, shape } = parameter;
      const theirs = file.read(key).data as Float32Array;
      const ours = parameter.data.slice();
      // PEFT adds in 16 bits where the base computes in them, and always before int8: some go to the other neighbour.
      const turned = new Float32Array(ours.length);
      if (coded!.turned) turn(ours, shape[0]!, shape[1]!, turned);
      const values = coded!.turned ? turned : ours;
      const off = values.filter((value, i) => Math.abs(value - theirs[i]!) > 1e-3).length;
      expect(off, key).toBeLessThanOrEqual(values.length / 50);
    }
    const saved = mkdtempSync(join(tmpdir(), "peft-bnb-"));
    await merged.savePretrained(saved);
    await using again = await open(name, saved);
    for (const parameter of again.namedParameters()) {
      const before = parameters.get(parameter.name)!;
      expect(parameter.coded === undefined, parameter.name).toBe(before.coded === undefined);
      expect(parameter.data, parameter.name).toEqual(before.data);
    }
    rmSync(saved, { recursive: true });
    file.close();
  });
});

test("codes are decoded where another type is asked for, when loading, merging and saving", async () => {
  const folder = join(FIXTURES, "bnb/llama-nf4");
  await using coded = await open("llama-nf4", join(folder, "model"));
  await using whole = await open("llama-nf4", join(folder, "model"), { dtype: "float32" });
  const [a, b] = [[...coded.namedParameters()], [...whole.namedParameters()]];
  for (const [i, one] of a.entries()) expect(b[i]!.data).toEqual(one.data);
  expect(b.filter((one) => one.coded !== undefined)).toEqual([]);
  const adapted = await PeftModel.fromPretrained(coded, join(folder, "adapter"));
  const merged = await adapted.mergeAndUnload({ requantise: false });
  const other = await (await PeftModel.fromPretrained(whole, join(folder, "adapter"))).mergeAndUnload();
  const theirs = [...other.namedParameters()];
  for (const [i, one] of [...merged.namedParameters()].entries())
    expectClose(one.name, one.data, theirs[i]!.data);
  const saved = mkdtempSync(join(tmpdir(), "peft-bnb-"));
  await merged.savePretrained(saved, { dtype: "float32" });
  expect(JSON.parse(readFileSync(join(saved, "config.json"), "utf8"))).not.toHaveProperty(
    "quantization_config",
  );
  await using again = await open("llama-nf4", saved);
  expect(
    [...again.namedParameters()].every((one) => one.coded === undefined && one.type.dtype === "float32"),
  ).toBe(true);
  rmSync(saved, { recursive: true });
});

test("codes that cannot be read say what is wrong", async () => {
  const folder = join(FIXTURES, "bnb/llama-nf4/model");
  const from = mkdtempSync(join(tmpdir(), "peft-bnb-"));
  const config = JSON.parse(readFileSync(join(folder, "config.json"), "utf8")) as Record<string, unknown>;
  const file = await openSafetensors(join(folder, "model.safetensors"));
  const write = async (change: Record<string, unknown>, keep: (name: string) => boolean): Promise<void> => {
    writeFileSync(join(from, "config.json"), JSON.stringify({ ...config, ...change }));
    const tensors = [...file.tensors].filter(([name]) => keep(name));
    await writeSafetensors(
      join(from, "model.safetensors"),
      tensors.map(([name, { dtype, shape }]) => [name, { dtype, shape, data: file.read(name).data }]),
    );
  };
  await write({ quantization_config: { quant_method: "gptq", bits: 4 } }, () => true);
  await expect(open("llama", from)).rejects.toThrow(
    /holds weights in the codes of gptq, which cannot be read/,
  );
  await write({}, (name) => !(name.includes("layers.1.mlp.up_proj") && name.includes("quant_state")));
  await expect(open("llama", from)).rejects.toThrow(/nothing says how its codes are to be read/);
  await write({}, (name) => !name.endsWith("layers.1.mlp.up_proj.weight.nested_quant_map"));
  await using model = await open("llama", from);
  await expect(model.forward({ inputIds: [[3, 4]] })).rejects.toThrow(/the file does not hold it/);
  file.close();
  rmSync(from, { recursive: true });
});

const adapters = [
  {},
  { useDora: true },
  { initLoraWeights: "pissa" },
] as const satisfies readonly Partial<PeftConfig>[];

describe.each(["ort-native", "ort-node"] as const)("on %s", (engineName) => {
  test.each(Object.keys(quantised))("products of %s are those of its decoded weights", async (name) => {
    const engine = await createEngine({ engine: engineName });
    const facts = factsOf(name);
    const source = join(FIXTURES, facts.source, "model");
    for (const lora of adapters) {
      await using coded = await open(name, source, { ...quantised[name], engine });
      await using whole = await open(name, source, { engine });
      const decoded = new Map([...coded.namedParameters()].map((one) => [one.name, one.data.slice()]));
      for (const parameter of whole.namedParameters()) parameter.allocate().set(decoded.get(parameter.name)!);
      const results = [];
      for (const model of [coded, whole]) {
        const config = {
          peftType: "LORA",
          r: 4,
          initLoraWeights: false,
          targetModules: facts.targets,
        } as const;
        const adapted = await getPeftModel(model, { ...config, ...lora });
        const { logits } = await model.forward(batchOf(facts));
        const { loss } = await adapted.backward(batchOf(facts));
        const grads = adapted.trainableParameters().map(({ grad }) => grad!);
        results.push({ logits: logits.data, loss, grads });
      }
      const [a, b] = results as [(typeof results)[0], (typeof results)[0]];
      const what = `${name} ${JSON.stringify(lora)}`;
      expectClose(`${what} logits`, a.logits, b.logits, { absolute: 2e-5, relative: 1e-5 });
      for (const [i, grad] of a.grads.entries())
        expectClose(`${what} gradient ${i}`, grad, b.grads[i]!, { absolute: 2e-5, relative: 1e-4 });
    }
    await engine.close();
  });
});

test("codes are all that stays of the weights, whatever is done with them", async () => {
  const source = join(FIXTURES, "llama/model");
  await using model = await AutoModelForCausalLM.fromPretrained(source, { loadIn4bit: true });
  const facts = factsOf("llama-nf4");
  const adapted = await getPeftModel(model, { peftType: "LORA", targetModules: "all-linear", useDora: true });
  const before = takeSnapshot(adapted);
  const optimizer = new AdamW(adapted.trainableParameters());
  for (let step = 0; step < 2; step += 1) {
    await adapted.backward(batchOf(facts));
    await optimizer.step();
    optimizer.zeroGrad();
  }
  await generate(model, [[3, 5]], { maxNewTokens: 2, stopTokens: [] });
  expect(verifyOnlyAdapterMoved(adapted, before).ok).toBe(true);
  const coded = [...model.namedParameters()].filter((one) => one.coded !== undefined);
  expect(coded).toHaveLength(21);
  expect(coded.filter((one) => one.loaded)).toEqual([]);
  expect(model.runner.pool.inUse).toBe(0);
});

test("a GGUF file is not quantised again, and bad values say what is taken", async () => {
  const file = join(FIXTURES, "gguf/llama.gguf");
  await expect(AutoModelForCausalLM.fromPretrained(file, { loadIn4bit: true })).rejects.toThrow(
    /loadIn4bit quantises float weights, and .* is a GGUF file\./,
  );
  const options = { loadIn4bit: true, bnb4bitQuantType: "nf3" } as unknown as FromPretrainedOptions;
  await expect(AutoModelForCausalLM.fromPretrained(join(FIXTURES, "llama/model"), options)).rejects.toThrow(
    /bnb4bitQuantType +"nf3" is not one of nf4, fp4/,
  );
});
