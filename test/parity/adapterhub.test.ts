import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  AdamW,
  AutoModel,
  AutoModelForCausalLM,
  AutoModelForSeq2SeqLM,
  AutoModelForSequenceClassification,
  createEngine,
  type Engine,
  type FeatureLoss,
  openSafetensors,
  PeftModel,
} from "../../src/index.js";
import type { PretrainedModel } from "../../src/auto/pretrained-model.js";
import type { Parameter } from "../../src/nn/parameter.js";
import { AdapterHubNames } from "../../src/peft/adapterhub-names.js";
import { openAdapterFolder } from "../../src/files/adapter-files.js";
import { chooseFiles } from "../../src/files/hub-files.js";
import { expectClose } from "../support/close.js";
import { fixturesFolder } from "../support/fixture.js";

interface Manifest {
  readonly settings: {
    readonly learning_rate: number;
    readonly weight_decay: number;
    readonly steps: number;
  };
  readonly cases: readonly { readonly family: string; readonly case: string }[];
}

const root = join(fixturesFolder, "adapterhub");
const readJson = (path: string): unknown => JSON.parse(readFileSync(path, "utf8"));
const { settings, cases } = readJson(join(root, "manifest.json")) as Manifest;
const families = [...new Set(cases.map(({ family }) => family))];

let engine: Engine;
beforeAll(async () => {
  engine = await createEngine({});
});
const temporary = mkdtempSync(join(tmpdir(), "peft-adapterhub-"));
afterAll(async () => {
  await engine.close();
  rmSync(temporary, { recursive: true });
});

/** The loss that the Python script puts on bodies: the mean square of hidden states. */
const meanSquare: FeatureLoss = (hidden) => ({
  sum: hidden.reduce((sum, value) => sum + value * value, 0) / hidden.length,
  count: 1,
  gradient: hidden.map((value) => (2 * value) / hidden.length),
});

const CAUSAL = ["gpt2", "llama", "mistral"];

/** A model with what its adapter is compared on. */
function open(family: string): Promise<PretrainedModel> {
  const folder = join(root, family, "model");
  if (CAUSAL.includes(family)) return AutoModelForCausalLM.fromPretrained(folder, { engine });
  if (family.startsWith("t5")) return AutoModelForSeq2SeqLM.fromPretrained(folder, { engine });
  const auto = family === "bert-sequence" ? AutoModelForSequenceClassification : AutoModel;
  return auto.fromPretrained(folder, { engine });
}

describe.each(families)("%s", (family) => {
  const facts = readJson(join(root, family, "facts.json")) as Record<string, number[][]>;
  const mask = family.startsWith("t5")
    ? facts["labels"]!.flat().map((label) => (label === -100 ? 0 : 1))
    : facts["attention_mask"]!.flat();
  const batch = {
    inputIds: facts["input_ids"],
    attentionMask: facts["attention_mask"],
    labels: facts["labels"],
    ...(facts["labels"] === undefined ? { lossOf: meanSquare } : {}),
  } as never;

  /** Scores, or hidden states, without those of padding. */
  const scores = async (base: PretrainedModel): Promise<Float32Array> => {
    const output = (await base.forward(batch)) as unknown as Record<
      string,
      { readonly data: Float32Array; readonly dims: readonly number[] }
    >;
    const { data, dims } = output["logits"] ?? output["lastHiddenState"]!;
    if (dims.length === 2) return data;
    const width = dims[2]!;
    return Float32Array.from(
      mask.flatMap((real, i) => (real === 1 ? [...data.subarray(i * width, (i + 1) * width)] : [])),
    );
  };

  describe.each(cases.filter((entry) => entry.family === family))("$case", (entry) => {
    const folder = join(root, family, entry.case);

    test("what AdapterHub saved: scores, loss, gradients, five steps", async () => {
      const expected = await openSafetensors(join(folder, "expected.safetensors"));
      const tensor = (name: string): Float32Array => expected.read(name).data as Float32Array;
      const base = await open(family);
      const model = await PeftModel.fromPretrained(base, join(folder, "adapter"), { isTrainable: true });
      expect(model.warnings).toEqual([]);
      expectClose("scores", await scores(base), tensor("logits"));
      const names = new AdapterHubNames(base.module, "task", base.definition.prefix);
      const trained = [...model.adapter().tensors].map(([name, parameter]): [string, Parameter] => [
        names.toAdapterHub(name),
        parameter,
      ]);
      const grads = [...expected.tensors.keys()].filter((name) => name.startsWith("grad."));
      expect(trained.map(([name]) => `grad.${name}`).sort()).toEqual(grads.sort());
      const { loss } = await model.backward(batch);
      expectClose("loss", [loss], tensor("loss"), { relative: 1e-4 });
      for (const [name, { grad }] of trained)
        expectClose(`gradient of ${name}`, grad!, tensor(`grad.${name}`), { absolute: 1e-5, relative: 1e-3 });
      for (const [, parameter] of trained) parameter.grad = undefined;
      const optimizer = new AdamW(
        trained.map(([, parameter]) => parameter),
        { learningRate: settings.learning_rate, weightDecay: settings.weight_decay },
      );
      for (let step = 1; step <= settings.steps; step += 1) {
        await model.backward(batch);
        await optimizer.step();
        optimizer.zeroGrad();
      }
      for (const [name, { data }] of trained) {
        // Where a gradient is noise, Adam makes a full step of its sign: only entries above noise are compared.
        const gradient = tensor(`grad.${name}`);
        const clear = (values: Float32Array) => values.map((v, i) => (Math.abs(gradient[i]!) > 1e-4 ? v : 0));
        expectClose(`trained ${name}`, clear(data), clear(tensor(`trained.${name}`)), { absolute: 5e-4 });
      }
      await base.close();
    });

    test("what is written for AdapterHub is what AdapterHub wrote", async () => {
      const base = await open(family);
      const model = await PeftModel.fromPretrained(base, join(folder, "adapter"), { adapterName: "task" });
      const out = join(temporary, family, entry.case);
      await model.savePretrained(out, { layout: "adapterhub" });
      const [ours, theirs] = [join(out, "task"), join(folder, "adapter")];
      const { version: _, ...expected } = readJson(join(theirs, "adapter_config.json")) as object & {
        version: string;
      };
      const free = { model_name: "" };
      expect({ ...(readJson(join(ours, "adapter_config.json")) as object), ...free }).toEqual({
        ...expected,
        version: "adapters.1.3.0",
      });
      const [written, original] = [await openAdapterFolder(ours), await openAdapterFolder(theirs)];
      for (const [a, b] of [
        [written.weights, original.weights],
        [await written.openHead(), await original.openHead()],
      ] as const) {
        expect([...(a?.tensors.keys() ?? [])].sort()).toEqual([...(b?.tensors.keys() ?? [])].sort());
        for (const key of b?.tensors.keys() ?? []) expect(a!.read(key), key).toEqual(b!.read(key));
      }
      await base.close();
    });
  });
});

test("a head of another task is left alone, and said so", async () => {
  const base = await AutoModel.fromPretrained(join(root, "bert-sequence/model"), { engine });
  const model = await PeftModel.fromPretrained(base, join(root, "bert-sequence/seq-bn/adapter"));
  expect(model.warnings.map(({ code }) => code)).toEqual(["head_left_alone"]);
  expect(model.warnings[0]!.text).toMatch(
    /model_head\.safetensors is no head of this model's task and is left alone/,
  );
  await base.close();
});

test("an adapter of the Hub is fetched with its head, pickles where there is nothing else", () => {
  const files = (...paths: string[]) => paths.map((path) => ({ path, size: 1 }) as never);
  const chosen = (...paths: string[]) =>
    chooseFiles("AdapterHub/x", files(...paths), undefined).files.map(({ path }) => path);
  const pickles = [
    "adapter_config.json",
    "head_config.json",
    "pytorch_adapter.bin",
    "pytorch_model_head.bin",
  ];
  expect(chosen("README.md", ...pickles)).toEqual(pickles);
  expect(chosen("adapter_config.json", "adapter.safetensors")).toEqual([
    "adapter_config.json",
    "adapter.safetensors",
  ]);
});
