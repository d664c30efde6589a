import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  AutoModelForCausalLM,
  type CausalLanguageModel,
  createEngine,
  generate,
  getPeftModel,
} from "../src/index.js";
import type { Engine } from "../src/runtime/engine.js";
import { expectClose } from "./support/close.js";

const path = join(import.meta.dirname, "fixtures/gguf/llama.gguf");
const inputIds = [[3, 17, 29, 5, 41, 8, 2, 30, 11]];

describe.each(["ort-native", "ort-node"] as const)("a GGUF file on %s", (name) => {
  let engine: Engine;
  beforeAll(async () => {
    engine = await createEngine({ engine: name });
  });
  afterAll(() => engine.close());

  const open = (dtype: "auto" | "float32"): Promise<CausalLanguageModel> =>
    AutoModelForCausalLM.fromPretrained(path, { engine, dtype });

  test("its blocks are used as they are, with the results of decoded weights", async () => {
    await using packed = await open("auto");
    await using decoded = await open("float32");
    const [a, b] = await Promise.all([packed.forward({ inputIds }), decoded.forward({ inputIds })]);
    expectClose("logits", a.logits.data, b.logits.data, { absolute: 1e-5, relative: 1e-5 });
    expect(inBlocks(packed).length).toBeGreaterThan(0);
    expect(inBlocks(packed).filter(({ loaded }) => loaded)).toEqual([]);
    expect(inBlocks(decoded)).toEqual([]);
  });

  test("an adapter around them gives the same answer, and none of them is decoded for it", async () => {
    const answers = [];
    for (const dtype of ["auto", "float32"] as const) {
      await using model = await open(dtype);
      await getPeftModel(model, {
        peftType: "LORA",
        initLoraWeights: "gaussian",
        targetModules: "all-linear",
      });
      answers.push(await generate(model, inputIds, { maxNewTokens: 6, stopTokens: [] }));
      expect(inBlocks(model).length > 0).toBe(dtype === "auto");
      expect(inBlocks(model).filter(({ loaded }) => loaded)).toEqual([]);
    }
    expect(answers[0]).toEqual(answers[1]);
  });

  test("training decodes them once, and every pass after it uses what was decoded", async () => {
    await using packed = await open("auto");
    await using decoded = await open("float32");
    await packed.forward({ inputIds });
    for (const model of [packed, decoded])
      await getPeftModel(model, { peftType: "LORA", targetModules: ["q_proj", "down_proj"] });
    const [a, b] = [
      await packed.backward({ inputIds, labels: inputIds }),
      await decoded.backward({ inputIds, labels: inputIds }),
    ];
    expect(a.loss).toBe(b.loss);
    const [x, y] = [await packed.forward({ inputIds }), await decoded.forward({ inputIds })];
    expect(x.logits.data).toEqual(y.logits.data);
  });
});

const inBlocks = (model: CausalLanguageModel) =>
  [...model.namedParameters()].filter(({ blocks }) => blocks !== undefined);

test("a training that begins beside a generation lets it end", async () => {
  await using model = await AutoModelForCausalLM.fromPretrained(path);
  const adapted = await getPeftModel(model, { peftType: "LORA", targetModules: ["q_proj"] });
  const alone = await generate(model, inputIds, { maxNewTokens: 12, stopTokens: [] });
  const [beside] = await Promise.all([
    generate(model, inputIds, { maxNewTokens: 12, stopTokens: [] }),
    adapted.backward({ inputIds, labels: inputIds }),
  ]);
  expect(beside).toEqual(alone);
});
