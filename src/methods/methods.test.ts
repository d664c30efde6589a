import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { expectClose } from "../../test/support/close.js";
import { fixturesFolder } from "../../test/support/fixture.js";
import { AutoModelForCausalLM } from "../auto/auto-model.js";
import type { CausalLanguageModel } from "../auto/causal-language-model.js";
import { declaredParameters } from "../peft/adapter.js";
import { getPeftModel } from "../peft/get-peft-model.js";
import { PeftModel } from "../peft/peft-model.js";
import { AdamW } from "../train/adamw.js";
import { methods, type PeftConfig } from "./index.js";
import { factorise } from "./lokr.js";
import type { MethodDefinition } from "./method.js";
import { blocksOf } from "./oft.js";

let base: CausalLanguageModel;
/** A model with biases. */
let biased: CausalLanguageModel;
beforeAll(async () => {
  biased = await AutoModelForCausalLM.fromPretrained(join(fixturesFolder, "qwen2/model"));
  base = await AutoModelForCausalLM.fromPretrained(join(fixturesFolder, "llama/model"));
});
afterAll(async () => {
  await base.close();
  await biased.close();
});

const targetModules = ["q_proj", "down_proj"];
const errorOf = (config: PeftConfig): Promise<string> =>
  getPeftModel(base, config).then(
    () => "it was taken",
    (error: unknown) => (error as Error).message,
  );

const block = { targetModules: ["mlp"] };

/** Options for layers as small as those of the fixtures. */
const small: Partial<Record<string, object>> = {
  SHIRA: { r: 2 },
  BITFIT: { targetModules: ["q_proj"] },
  SEQ_BN: block,
  DOUBLE_SEQ_BN: block,
  PAR_BN: block,
  SCALED_PAR_BN: block,
  COMPACTER: { ...block, reductionFactor: 8 },
  COMPACTER_PLUS_PLUS: { ...block, reductionFactor: 8 },
  TRAINABLE_TOKENS: { targetModules: ["embed_tokens"], tokenIndices: [3, 5, 8] },
};

describe.each(Object.values(methods) as unknown as MethodDefinition[])("$name", (method) => {
  // A method that holds on to the model as a whole has no targets.
  const targets = "targetModules" in method.config ? { targetModules } : {};

  test("the number of parameters is what its formula says", async () => {
    const model = await getPeftModel(method.name === "BITFIT" ? biased : base, {
      peftType: method.name,
      ...targets,
      ...small[method.name],
    } as PeftConfig);
    const { config, places } = model.adapter();
    const expected = declaredParameters(method, config, places);
    expect(model.parameterCount().trainable).toBe(expected);
    model.deleteAdapter("default");
  });

  test("half-precision base: gradients are those of recomputed activations, and of a few tokens at a time, and taking it off restores the base", async () => {
    const name = method.name === "BITFIT" ? "qwen2" : "llama-bfloat16";
    const ids = [5, 6, 7, 8, 9, 10, 11];
    // Only methods with tasks read the tasks of the rows.
    const batch = { inputIds: [ids, ids.toReversed()], labels: [ids, ids.toReversed()], taskIds: [0, 0] };
    const results: Map<string, Float32Array>[] = [];
    const fewTokens = { whole: 0, chunk: 0, tokens: 3, repeated: Infinity };
    for (const [activationBytes, chunks] of [
      [Infinity],
      [0],
      [Infinity, fewTokens],
      [0, fewTokens],
    ] as const) {
      const half = await AutoModelForCausalLM.fromPretrained(join(fixturesFolder, `${name}/model`), {
        activationBytes,
      });
      if (chunks !== undefined) half.runner.chunks = chunks;
      const before = (await half.forward(batch)).logits.data;
      const config = { peftType: method.name, ...targets, ...small[method.name] } as PeftConfig;
      const model = await getPeftModel(half, config);
      for (const { data } of model.trainableParameters())
        for (let i = 0; i < data.length; i += 1) data[i]! += 0.02 * Math.cos(i);
      const { loss } = await model.backward(batch);
      expect(Number.isFinite(loss)).toBe(true);
      const grads = model.trainableParameters().map(({ name: key, grad }) => [key, grad!] as const);
      for (const [key, grad] of grads)
        expect(
          grad.some((value) => value !== 0),
          key,
        ).toBe(true);
      results.push(new Map(grads));
      model.deleteAdapter("default");
      expect((await half.forward(batch)).logits.data).toEqual(before);
      await half.close();
    }
    for (const other of results.slice(1))
      for (const [key, grad] of results[0]!)
        expectClose(key, other.get(key)!, grad, { absolute: 1e-6, relative: 1e-5 });
  });

  test("numbers beyond the bounds of an option are refused", async () => {
    for (const [name, option] of Object.entries(method.config)) {
      if (method.name === "TRAINABLE_TOKENS" && name === "tokenIndices") continue;
      for (const value of [-2, 0, 1, Number.MAX_VALUE, "no such word"]) {
        if (option.schema.safeParse(value).success) continue;
        const text = await errorOf({ peftType: method.name, ...targets, [name]: value } as PeftConfig);
        expect(text, name).toContain(`${method.name} has an option that cannot be used.\n  ${name} `);
      }
    }
  });
});

describe("options that do not go together", () => {
  test("OFT: both sizes, or neither", async () => {
    expect(await errorOf({ peftType: "OFT", r: 4 })).toMatchInlineSnapshot(`
      "OFT has an option that cannot be used.
        r  with oftBlockSize: 4 and 32: exactly one of the two has to be 0, as each follows from the other (oftBlockSize: 0 to choose the number of blocks)
      fix: r: 0 and oftBlockSize: 32"
    `);
    expect(await errorOf({ peftType: "OFT", oftBlockSize: 0 })).toMatchInlineSnapshot(`
      "OFT has an option that cannot be used.
        r  with oftBlockSize: 0 and 0: exactly one of the two has to be 0, as each follows from the other (oftBlockSize: 0 to choose the number of blocks)
      fix: r: 0 and oftBlockSize: 32"
    `);
  });

  test("BOFT: a block size that does not divide the input", async () => {
    expect(await errorOf({ peftType: "BOFT", boftBlockSize: 5, targetModules })).toMatchInlineSnapshot(`
      "boftBlockSize: 5 does not cut the 32 inputs of model.layers.0.self_attn.q_proj into equal blocks.
        needed  a divisor of 32
      fix: boftBlockSize: 4
       or: leave this module out: excludeModules"
    `);
    expect(await errorOf({ peftType: "BOFT", boftBlockSize: 4, boftNButterflyFactor: 9, targetModules }))
      .toMatchInlineSnapshot(`
      "boftBlockSize: 4 does not cut the 32 inputs of model.layers.0.self_attn.q_proj into equal blocks.
        needed  an even size of which 256 fit into 32 without a rest, for boftNButterflyFactor 9
      fix: boftBlockSize: 4
       or: leave this module out: excludeModules"
    `);
    expect(await errorOf({ peftType: "BOFT", boftBlockNum: 4, targetModules })).toMatchInlineSnapshot(`
      "BOFT has an option that cannot be used.
        boftBlockSize  with boftBlockNum: 4 and 4: exactly one of the two has to be 0, as each follows from the other
      fix: boftBlockSize: 4 and boftBlockNum: 0"
    `);
  });

  test("IA3: feed-forward modules that are not adapted", async () => {
    expect(
      await errorOf({
        peftType: "IA3",
        targetModules: ["k_proj"],
        feedforwardModules: ["down_proj", "k_proj"],
      }),
    ).toMatchInlineSnapshot(`
      "feedforwardModules: "down_proj" means none of the 3 modules that are adapted.
        adapted  k_proj
      fix: name them in targetModules too, or leave them out of feedforwardModules"
    `);
  });
});

describe("AdaLoRA", () => {
  const ids = [5, 6, 7, 8, 9, 10, 11];
  const batch = { inputIds: [ids], labels: [ids] };

  test("ranks fall to the budget, and the file holds what is left", async () => {
    const folder = mkdtempSync(join(tmpdir(), "peft-adalora-"));
    const model = await getPeftModel(base, {
      peftType: "ADALORA",
      initR: 4,
      targetR: 2,
      tinit: 1,
      tfinal: 2,
      initLoraWeights: false,
      targetModules,
    });
    const optimizer = new AdamW(model.trainableParameters(), { learningRate: 1e-2 });
    for (let step = 1; step <= 8; step += 1) {
      await model.backward(batch);
      await optimizer.step();
      model.afterStep({ step, totalSteps: 8 });
      optimizer.zeroGrad();
    }
    const values = [...model.adapter().tensors].filter(([key]) => key.endsWith("lora_E"));
    const used = values.flatMap(([, { data }]) => [...data]).filter((value) => value !== 0).length;
    expect(used).toBe(2 * values.length);
    const { data } = (await model.forward(batch)).logits;
    await model.savePretrained(folder);
    model.deleteAdapter("default");
    const saved = JSON.parse(readFileSync(join(folder, "adapter_config.json"), "utf8")) as {
      rank_pattern: Record<string, boolean[]>;
      total_step: number;
    };
    expect(Object.values(saved.rank_pattern).flat().filter(Boolean)).toHaveLength(used);
    expect(saved.total_step).toBe(8);
    const again = await PeftModel.fromPretrained(base, folder);
    const sizes = [...again.adapter().tensors].filter(([key]) => key.endsWith("lora_E"));
    expect(sizes.reduce((sum, [, { size }]) => sum + size, 0)).toBe(used);
    expectClose("loaded", (await again.forward(batch)).logits.data, data, { absolute: 1e-5 });
    again.deleteAdapter("default");
    rmSync(folder, { recursive: true });
  });

  test("without the length of the run nothing is dropped", async () => {
    const model = await getPeftModel(base, { peftType: "ADALORA", initLoraWeights: false, targetModules });
    await model.backward(batch);
    model.afterStep({ step: 5 });
    expect(model.trainableParameters().every(({ data }) => data.every((value) => value !== 0))).toBe(true);
    model.deleteAdapter("default");
  });

  test("schedules and ranks that do not fit", async () => {
    expect(await errorOf({ peftType: "ADALORA", tinit: 10, tfinal: 20, totalStep: 30, initR: 4 }))
      .toMatchInlineSnapshot(`
        "ADALORA has 2 options that cannot be used.
          tinit    with tfinal and totalStep: 10, 20 and 30 leave no step for moving ranks; tinit + tfinal has to be below totalStep
          targetR  with initR: 8 and 4: ranks only fall, so initR has to be the larger
        fix: totalStep: 31, initR: 8"
      `);
  });
});

describe("LoRA", () => {
  test("options that do not work together, or need another rank", async () => {
    expect(await errorOf({ peftType: "LORA", useDora: true, initLoraWeights: "pissa" }))
      .toMatchInlineSnapshot(`
        "LORA has an option that cannot be used.
          useDora  with initLoraWeights: true: the lengths belong to a weight that the start takes apart; choose one of the two
        fix: useDora: false"
      `);
    expect(await errorOf({ peftType: "LORA", r: 3, loraBias: true, initLoraWeights: "orthogonal" }))
      .toMatchInlineSnapshot(`
        "LORA has 2 options that cannot be used.
          loraBias  with initLoraWeights: true: the two do not work together
          r         with initLoraWeights: 3: an orthogonal start needs an even rank
        fix: loraBias: false, r: 4"
      `);
    expect(await errorOf({ peftType: "LORA", initLoraWeights: "orthogonal", rankPattern: { q_proj: 3 } }))
      .toMatchInlineSnapshot(`
      "initLoraWeights: orthogonal needs an even rank, and model.layers.0.self_attn.q_proj has r: 3.
      fix: r: 4"
    `);
    expect(await errorOf({ peftType: "LORA", r: 17, initLoraWeights: "olora" })).toMatchInlineSnapshot(`
      "r: 17 is larger than the smaller side of model.layers.0.self_attn.v_proj (16, 32), which olora cannot fill.
      fix: r: 16
       or: rankPattern: { "model.layers.0.self_attn.v_proj": 16 }"
    `);
    expect(await errorOf({ peftType: "LORA", initLoraWeights: "pissa_niter_many" as "pissa" }))
      .toMatchInlineSnapshot(`
        "LORA has an option that cannot be used.
          initLoraWeights  "pissa_niter_many" is not one of true, false, gaussian, orthogonal, pissa, olora, eva, corda, lora_ga, mica, loftq, pissa_niter_<n>
        fix: initLoraWeights: true"
      `);
  });

  test("trainableTokenIndices: rows of named modules, and names that mean none", async () => {
    const model = await getPeftModel(base, {
      peftType: "LORA",
      targetModules: ["q_proj"],
      trainableTokenIndices: { embed_tokens: [1, 2] },
    });
    const keys = [...model.adapter().tensors.keys()].filter((key) => key.includes("token"));
    expect(keys).toEqual(["base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta"]);
    model.deleteAdapter("default");
    expect(
      (await errorOf({ peftType: "LORA", trainableTokenIndices: { embed: [1] } })).replaceAll(
        fixturesFolder,
        "DIR",
      ),
    ).toMatchInlineSnapshot(`
      "trainableTokenIndices: "embed" matches no module of DIR/llama/model.
        can be adapted  embed_tokens (1)  q_proj (3)  k_proj (3)  v_proj (3)  o_proj (3)  gate_proj (3)  up_proj (3)  down_proj (3)  lm_head (1)
      fix: see all paths: peft match DIR/llama/model
       or: for what may be absent: { match: "name", optional: true }"
    `);
    expect(await errorOf({ peftType: "LORA", trainableTokenIndices: [4, 7, 4] })).toMatchInlineSnapshot(`
      "LORA has an option that cannot be used.
        trainableTokenIndices  token 4 is named twice; each once was expected"
    `);
    expect(await errorOf({ peftType: "LORA", trainableTokenIndices: { embed_tokens: [] } }))
      .toMatchInlineSnapshot(`
        "LORA has an option that cannot be used.
          trainableTokenIndices  [] names no token; one id or more was expected"
      `);
    expect(await errorOf({ peftType: "LORA", trainableTokenIndices: [97] })).toMatchInlineSnapshot(`
      "trainableTokenIndices: 97 is no token of model.embed_tokens, which has 97.
      fix: ids from 0 to 96"
    `);
    const twice = { modulesToSave: ["embed_tokens"], trainableTokenIndices: { embed_tokens: [1] } };
    expect(await errorOf({ peftType: "LORA", ...twice })).toMatchInlineSnapshot(`
      "model.embed_tokens is in trainableTokenIndices and in modulesToSave: it cannot be adapted and trained as a whole.
      fix: to train it as a whole: leave "model.embed_tokens" out of trainableTokenIndices
       or: to adapt: take it out of modulesToSave"
    `);
  });

  test("loraBias cannot be merged where the layer has no bias", async () => {
    const model = await getPeftModel(base, { peftType: "LORA", loraBias: true, targetModules });
    await expect(model.mergeAndUnload()).rejects.toThrowErrorMatchingInlineSnapshot(`
      [UnsupportedError: The adapter at model.layers.0.self_attn.q_proj cannot be merged: loraBias needs a bias of the layer to add to, and it has none.
      fix: keep base and adapter apart; they can be used together as they are]
    `);
    model.deleteAdapter("default");
  });

  test.each(["orthogonal", "pissa", "pissa_niter_2", "olora"] as const)(
    "%s starts with numbers in A and B and leaves the model as it is",
    async (initLoraWeights) => {
      const batch = { inputIds: [[5, 6, 7, 8]] };
      const before = (await base.forward(batch)).logits.data;
      const model = await getPeftModel(base, { peftType: "LORA", r: 4, initLoraWeights, targetModules });
      expectClose("logits", (await base.forward(batch)).logits.data, before, { absolute: 2e-5 });
      for (const { data } of model.trainableParameters())
        expect(data.some((value) => value !== 0)).toBe(true);
      model.deleteAdapter("default");
    },
  );
});

describe("BitFit", () => {
  test("without targets every bias of the model is trained", async () => {
    const model = await getPeftModel(biased, { peftType: "BITFIT" });
    const biases = [...biased.namedParameters()].filter(({ name }) => name.endsWith(".bias"));
    expect(model.parameterCount().trainable).toBe(biases.reduce((sum, { size }) => sum + size, 0));
    model.deleteAdapter("default");
  });

  test("a model without biases, and a module without one", async () => {
    expect((await errorOf({ peftType: "BITFIT" })).replaceAll(fixturesFolder, "FIXTURES"))
      .toMatchInlineSnapshot(`
      "FIXTURES/llama/model has no module that BITFIT can adapt.
      fix: choose another method"
    `);
    expect(await errorOf({ peftType: "BITFIT", targetModules: ["q_proj"] })).toMatchInlineSnapshot(`
      "targetModules: model.layers.0.self_attn.q_proj is a Linear, which BITFIT cannot adapt, as 2 modules more.
        modules         model.layers.0.self_attn.q_proj  Linear
                        model.layers.1.self_attn.q_proj  Linear
                        model.layers.2.self_attn.q_proj  Linear
        can be adapted  none of its modules
      fix: to train it as a whole: modulesToSave: ["model.layers.0.self_attn.q_proj"]"
    `);
  });
});

test("trainable tokens: ids that are wrong", async () => {
  expect(await errorOf({ peftType: "TRAINABLE_TOKENS" })).toMatchInlineSnapshot(`
    "TRAINABLE_TOKENS has an option that cannot be used.
      tokenIndices  [] names no token; one id or more was expected
    fix: tokenIndices: [0, 1]"
  `);
  expect(await errorOf({ peftType: "TRAINABLE_TOKENS", tokenIndices: [4, 7, 4] })).toMatchInlineSnapshot(`
    "TRAINABLE_TOKENS has an option that cannot be used.
      tokenIndices  token 4 is named twice; each once was expected
    fix: tokenIndices: [4, 7]"
  `);
  expect(await errorOf({ peftType: "TRAINABLE_TOKENS", tokenIndices: [4, 97] })).toMatchInlineSnapshot(`
    "tokenIndices: 97 is no token of model.embed_tokens, which has 97.
    fix: ids from 0 to 96"
  `);
  expect(await errorOf({ peftType: "TRAINABLE_TOKENS", tokenIndices: [-1] })).toMatchInlineSnapshot(`
    "TRAINABLE_TOKENS has an option that cannot be used.
      tokenIndices  [-1] (at 0) is too small; at least 0 was expected
    fix: tokenIndices: [0, 1]"
  `);
});

test("trainable tokens on a shared table: one parameter, two names, and the head takes it too", async () => {
  const model = await getPeftModel(base, { peftType: "TRAINABLE_TOKENS", tokenIndices: [3, 5] });
  expect([...model.adapter().tensors.keys()]).toEqual([
    "base_model.model.model.embed_tokens.trainable_tokens_delta",
    "base_model.model.lm_head.trainable_tokens_delta",
  ]);
  const [rows, ...others] = model.trainableParameters();
  expect(others).toEqual([]);
  const before = (await base.forward({ inputIds: [[9, 10]] })).logits;
  rows!.data.fill(0.5, 0, 32);
  const after = (await base.forward({ inputIds: [[9, 10]] })).logits;
  const moved = [...after.data.keys()].filter((i) => after.data[i] !== before.data[i]);
  expect(moved.map((i) => i % 97)).toEqual([3, 3]);
  model.deleteAdapter("default");
});

test("SHiRA and FourierFT: more numbers than a layer has", async () => {
  expect(await errorOf({ peftType: "SHIRA", targetModules })).toMatchInlineSnapshot(`
    "r: 32 would train 2,048 entries of model.layers.0.self_attn.q_proj, which has 1,024.
    fix: r: 16
     or: leave small modules out: excludeModules"
  `);
  expect(await errorOf({ peftType: "FOURIERFT", nFrequency: 2000, targetModules })).toMatchInlineSnapshot(`
    "nFrequency: 2000 is more than the 1,024 entries of model.layers.0.self_attn.q_proj (32, 32).
    fix: nFrequency: 1024
     or: nFrequencyPattern: { "model.layers.0.self_attn.q_proj": 1024 }"
  `);
});

test("IA3 takes its feed-forward modules from the model's table, where they are adapted", async () => {
  const model = await getPeftModel(base, { peftType: "IA3" });
  expect(model.adapter().config).toMatchObject({
    targetModules: ["k_proj", "v_proj", "down_proj"],
    feedforwardModules: ["down_proj"],
  });
  model.deleteAdapter("default");
  const other = await getPeftModel(base, { peftType: "IA3", targetModules: ["q_proj"] });
  expect(other.adapter().config["feedforwardModules"]).toBeUndefined();
  other.deleteAdapter("default");
});

test("sizes fall into factors and blocks as in Hugging Face", () => {
  expect([256, 128, 127, 36, 12].map((size) => factorise(size, -1))).toEqual([
    [16, 16],
    [8, 16],
    [1, 127],
    [6, 6],
    [3, 4],
  ]);
  expect([128, 8, 48, 50].map((size) => factorise(size, 4))).toEqual([
    [4, 32],
    [4, 2],
    [4, 12],
    [2, 25],
  ]);
  expect(blocksOf(48, { r: 0, oftBlockSize: 7 })).toEqual([8, 6]);
  expect(blocksOf(48, { r: 5, oftBlockSize: 0 })).toEqual([4, 12]);
  expect(blocksOf(48, { r: 0, oftBlockSize: 100 })).toEqual([1, 48]);
});
