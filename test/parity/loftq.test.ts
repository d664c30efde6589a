import { readFileSync } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  AutoModelForCausalLM,
  type CausalLanguageModel,
  createEngine,
  type Engine,
  getPeftModel,
  openSafetensors,
  type PeftConfig,
  PeftModel,
  replaceLoraWeightsLoftq,
  type SafetensorsFile,
  takeSnapshot,
  verifyOnlyAdapterMoved,
} from "../../src/index.js";
import { AdamW } from "../../src/train/adamw.js";
import { expectClose } from "../support/close.js";
import { fixturesFolder } from "../support/fixture.js";

interface Facts {
  readonly input_ids: number[][];
  readonly targets: readonly string[];
  readonly turned: string;
  readonly cases: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
}

const root = join(fixturesFolder, "loftq");
const facts = JSON.parse(readFileSync(join(root, "cases.json"), "utf8")) as Facts;
const llama = join(fixturesFolder, "llama/model");
const batch = { inputIds: facts.input_ids };

let engine: Engine;
let folder: string;
beforeAll(async () => {
  engine = await createEngine({});
  folder = await mkdtemp(join(tmpdir(), "peft-loftq-"));
});
afterAll(async () => {
  await engine.close();
  await rm(folder, { recursive: true });
});

const open = (path = llama, more: object = {}): Promise<CausalLanguageModel> =>
  AutoModelForCausalLM.fromPretrained(path, { engine, ...more });
const floats = (file: SafetensorsFile, name: string): Float32Array => file.read(name).data as Float32Array;
const scores = async (model: CausalLanguageModel): Promise<Float32Array> =>
  (await model.forward(batch)).logits.data;

type Lora = Extract<PeftConfig, { readonly peftType: "LORA" }>;
const lora = (more: Partial<Lora>): Lora => ({
  peftType: "LORA",
  r: 4,
  loraAlpha: 4,
  targetModules: facts.targets,
  ...more,
});
const loftq = (loftqBits: 4 | 8 = 4, loftqIter = 1): Partial<Lora> => ({
  initLoraWeights: "loftq",
  loftqConfig: { loftqBits, loftqIter },
});

/** Options of a case as they are written here. */
function optionsOf({ loftq: settings, ...options }: Readonly<Record<string, unknown>>): Partial<Lora> {
  const { loftq_bits: bits, loftq_iter: rounds } = settings as { loftq_bits: 4 | 8; loftq_iter: number };
  const named = Object.entries(options).map(([key, value]) => [
    key.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase()),
    value,
  ]);
  return { ...loftq(bits, rounds), ...Object.fromEntries(named) };
}

/** B A of a pair, (out, in). */
function product(A: Float32Array, B: Float32Array, r: number): Float32Array {
  const [width, out] = [A.length / r, B.length / r];
  return Float32Array.from({ length: out * width }, (_, at) => {
    let sum = 0;
    for (let k = 0; k < r; k += 1) sum += B[Math.floor(at / width) * r + k]! * A[k * width + (at % width)]!;
    return sum;
  });
}

/** The pair of a layer. */
function pairOf(model: PeftModel, path: string): { A: Float32Array; B: Float32Array; r: number } {
  const { tensors } = model.adapter();
  const [A, B] = ["A", "B"].map((key) => tensors.get(`base_model.model.${path}.lora_${key}.weight`)!);
  return { A: A!.data, B: B!.data, r: A!.shape[0]! };
}

describe.each(Object.entries(facts.cases))("%s", (name, options) => {
  test("starts as in Python, leaves the base alone, and comes back from its file", async () => {
    const file = await openSafetensors(join(root, `${name}.safetensors`));
    const base = await open();
    const config = lora(optionsOf(options));
    const model = await getPeftModel(base, config);
    const before = takeSnapshot(model);
    const paths = [...file.tensors.keys()].flatMap((key) => (key.endsWith(".A") ? [key.slice(0, -2)] : []));
    expect(
      model
        .adapter()
        .places.map(({ path }) => path)
        .sort(),
    ).toEqual(paths.sort());
    for (const path of paths) {
      const { A, B, r } = pairOf(model, path);
      // Singular values of what rounding leaves lie close together, so their product is compared and not each vector.
      const alpha =
        config.alphaPattern?.["v_proj"] !== undefined && path.endsWith("v_proj") ? 3 : config.loraAlpha!;
      const ours = product(A, B, r).map((value) => (value * alpha) / r);
      const theirs = product(floats(file, `${path}.A`), floats(file, `${path}.B`), r);
      expectClose(`B A of ${path}`, ours, theirs, { absolute: 2e-5, relative: 1e-3 });
      const { standsIn } = model.adapter().attachments.find((placed) => placed.path === path)!.attachment;
      expectClose(`Q of ${path}`, standsIn!["weight"]!.data, floats(file, `${path}.base`), {
        absolute: 1e-6,
      });
    }
    // Where s is not 1, Python adds s times what is missing.
    if (name !== "scaled") expectClose("logits", await scores(base), floats(file, "logits"));
    file.close();

    const optimizer = new AdamW(model.trainableParameters(), { learningRate: 1e-2 });
    const learn = { ...batch, labels: batch.inputIds };
    for (let step = 1; step <= 3; step += 1) {
      await model.backward(learn);
      await optimizer.step();
      optimizer.zeroGrad();
    }
    expect(verifyOnlyAdapterMoved(model, before).baseChanged).toEqual([]);
    const trained = await scores(base);
    const path = join(folder, name);
    await model.savePretrained(path);
    const written = JSON.parse(await readFile(join(path, "adapter_config.json"), "utf8")) as Record<
      string,
      unknown
    >;
    expect([written["init_lora_weights"], written["loftq_config"]]).toEqual(["loftq", options["loftq"]]);
    model.deleteAdapter("default");
    await PeftModel.fromPretrained(base, path).then(async (again) => {
      expectClose("logits of what was saved", await scores(base), trained, { absolute: 1e-5 });
      await again.mergeAndUnload();
    });
    expectClose("logits of the merged model", await scores(base), trained, { absolute: 1e-4 });
    await base.close();
  });
});

test("more rounds come nearer to the weight, and any s as near as s = 1", async () => {
  const base = await open();
  const whole = await scores(base);
  const errors: number[] = [];
  for (const more of [loftq(4, 1), loftq(4, 5), { ...loftq(4, 1), loraAlpha: 32 }, loftq(8, 1)]) {
    const model = await getPeftModel(base, lora(more));
    const now = await scores(base);
    errors.push(Math.hypot(...now.map((value, i) => value - whole[i]!)));
    model.deleteAdapter("default");
  }
  const [one, five, scaled, eight] = errors as [number, number, number, number];
  expect(five).toBeLessThan(one);
  expect(Math.abs(scaled - one)).toBeLessThan(1e-4 * one);
  expect(eight).toBeLessThan(0.2 * one);
  await base.close();
});

test("weights that are kept (in, out) start too, which Python cannot run", async () => {
  expect(facts.turned).toMatch(/^RuntimeError: mm: mat1 and mat2 shapes cannot be multiplied/);
  const base = await open(join(fixturesFolder, "gpt2/model"));
  const before = await scores(base);
  const distance = async (): Promise<number> =>
    Math.hypot(...(await scores(base)).map((value, i) => value - before[i]!));
  const targets = { targetModules: ["c_attn", "attn.c_proj"], r: 16, loraAlpha: 16 };
  for (const bits of [4, 8] as const) {
    const model = await getPeftModel(base, lora({ ...targets, ...loftq(bits) }));
    const fitted = await distance();
    for (const [name, { data }] of model.adapter().tensors) if (name.includes("lora_B")) data.fill(0);
    expect(fitted).toBeLessThan(0.6 * (await distance()));
    model.deleteAdapter("default");
  }
  await base.close();
});

describe("replaceLoraWeightsLoftq", () => {
  test("fits A and B to a base in codes as in Python", async () => {
    const base = await open(llama, { loadIn4bit: true });
    const model = await getPeftModel(base, lora({}));
    const replaced = await replaceLoraWeightsLoftq(model);
    const file = await openSafetensors(join(root, "replaced.safetensors"));
    expect(replaced.map((path) => `${path}.A`).sort()).toEqual(
      [...file.tensors.keys()].filter((key) => key.endsWith(".A")).sort(),
    );
    for (const path of replaced) {
      const { A, B, r } = pairOf(model, path);
      const theirs = product(floats(file, `${path}.A`), floats(file, `${path}.B`), r);
      expectClose(`B A of ${path}`, product(A, B, r), theirs, { absolute: 2e-5, relative: 1e-3 });
    }
    file.close();
    await base.close();
  });

  test("takes back what is not wanted, and says what it cannot do", async () => {
    const base = await open(llama, { loadIn4bit: true });
    const model = await getPeftModel(base, lora({}));
    const start = await scores(base);
    expect(await replaceLoraWeightsLoftq(model, { callback: (path) => path.includes("never") })).toEqual([]);
    expect(await scores(base)).toEqual(start);
    const stored = join(fixturesFolder, "bnb/llama-nf4/model");
    await expect(replaceLoraWeightsLoftq(model, { modelPath: stored })).rejects.toThrow(
      `${stored} holds the weight in codes, not the original one at model.layers.0.self_attn.q_proj.`,
    );
    model.deleteAdapter("default");
    await expect(getPeftModel(base, lora(loftq()))).rejects.toThrowErrorMatchingInlineSnapshot(`
      [ConfigError: initLoraWeights: loftq quantises a float weight, and that of model.layers.0.self_attn.q_proj is in codes already.
      fix: load the base without loadIn4bit: the adapter keeps the weights that it adapts in codes by itself
       or: initLoraWeights: true, and replaceLoraWeightsLoftq(model) after it]
    `);
    await base.close();
    const whole = await open();
    const plain = await getPeftModel(whole, lora({}));
    await expect(replaceLoraWeightsLoftq(plain)).rejects.toThrowErrorMatchingInlineSnapshot(`
      [ConfigError: The adapter default holds on to no linear layer in codes that it could be fitted at.
      fix: load the base with loadIn4bit: true, and attach LoRA without useDora
       or: initLoraWeights: "loftq" on a base that is not quantised]
    `);
    plain.deleteAdapter("default");
    const two = lora({ initLoraWeights: "loftq", loftqConfig: { loftqBits: 2 as 4, loftqIter: 0 } });
    await expect(getPeftModel(whole, two)).rejects.toThrowErrorMatchingInlineSnapshot(`
      [ConfigError: LORA has 2 options that cannot be used.
        loftqConfig.loftqBits  2 is not 4 or 8
        loftqConfig.loftqIter  0 is too small; at least 1 was expected
      fix: loftqBits: 4 in loftqConfig, loftqIter: 1 in loftqConfig]
    `);
    await whole.close();
  });
});
