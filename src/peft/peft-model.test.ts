import { cpSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { expectClose } from "../../test/support/close.js";
import { fixturesFolder } from "../../test/support/fixture.js";
import { AutoModelForCausalLM } from "../auto/auto-model.js";
import type { CausalLanguageModel } from "../auto/causal-language-model.js";
import { writeSafetensors } from "../files/safetensors-write.js";
import type { PeftConfig } from "../methods/index.js";
import { fingerprint } from "../train/verify.js";
import { getPeftModel } from "./get-peft-model.js";
import { PeftModel } from "./peft-model.js";

const folder = mkdtempSync(join(tmpdir(), "peft-model-"));
let base: CausalLanguageModel;
beforeAll(async () => {
  base = await AutoModelForCausalLM.fromPretrained(join(fixturesFolder, "llama/model"));
});
afterAll(async () => {
  await base.close();
  rmSync(folder, { recursive: true });
});
const batch = { inputIds: [[5, 6, 7, 8, 9]], labels: [[5, 6, 7, 8, 9]] };
const messageOf = async (work: () => Promise<unknown>): Promise<string> =>
  work().then(
    () => "it worked",
    (error: unknown) =>
      (error as Error).message.replaceAll(folder, "DIR").replaceAll(fixturesFolder, "FIXTURES"),
  );
const logits = async (): Promise<Float32Array> => (await base.forward(batch)).logits.data;
const without = async <T>(config: PeftConfig, body: (model: PeftModel) => Promise<T>): Promise<T> => {
  const model = await getPeftModel(base, config);
  try {
    return await body(model);
  } finally {
    for (const name of model.adapterNames) model.deleteAdapter(name);
  }
};

describe("a fresh LoRA", () => {
  test("changes nothing, has the names and the count of Hugging Face, and alone is trained", async () => {
    const before = await logits();
    await without({ peftType: "LORA", r: 4 }, async (model) => {
      expect(await logits()).toEqual(before);
      expect(model.trainableParametersLine()).toBe(
        "trainable params: 1,344 || all params: 27,712 || trainable%: 4.8499",
      );
      const names = [...model.namedParameters()].map(({ name }) => name);
      expect(names).toContain("base_model.model.model.layers.0.self_attn.q_proj.base_layer.weight");
      expect(names).toContain("base_model.model.model.layers.0.self_attn.k_proj.weight");
      expect(names).toContain("base_model.model.model.layers.2.self_attn.v_proj.lora_B.default.weight");
      await model.backward(batch);
      const graded = [...model.namedParameters()].filter(({ grad }) => grad !== undefined);
      expect(graded.every(({ name, trainable }) => trainable && name.includes("lora_"))).toBe(true);
      expect(graded).toHaveLength(12);
    });
    expect(await logits()).toEqual(before);
  });

  test.each([
    ["true", true, 0],
    ["gaussian", "gaussian", 0],
    ["false", false, 1],
  ] as const)("initLoraWeights %s", async (_, initLoraWeights, changes) => {
    const before = await logits();
    await without({ peftType: "LORA", r: 8, initLoraWeights }, async (model) => {
      expect((await logits()).some((value, i) => value !== before[i])).toBe(changes === 1);
      const [a] = model.trainableParameters();
      const deviation = Math.sqrt(a!.data.reduce((sum, v) => sum + v * v, 0) / a!.size);
      expect(deviation).toBeCloseTo(initLoraWeights === "gaussian" ? 1 / 8 : 1 / Math.sqrt(32 * 3), 1);
    });
  });

  test("two attaches from one seed agree, two seeds do not", async () => {
    const start = (seed: number) => getPeftModel(base, { peftType: "LORA" }, { seed });
    const values = async (seed: number): Promise<Float32Array> => {
      const model = await start(seed);
      const copy = model.trainableParameters()[0]!.data.slice();
      model.deleteAdapter("default");
      return copy;
    };
    expect(await values(1)).toEqual(await values(1));
    expect(await values(1)).not.toEqual(await values(2));
  });

  test("on an embedding", async () => {
    const before = await logits();
    await without({ peftType: "LORA", r: 2, targetModules: ["embed_tokens"] }, async (model) => {
      expectClose("logits", await logits(), before, { absolute: 1e-6 });
      expect(model.trainableParameters().map(({ name, shape }) => [name, shape])).toEqual([
        ["base_model.model.model.embed_tokens.lora_embedding_A.default", [2, 97]],
        ["base_model.model.model.embed_tokens.lora_embedding_B.default", [32, 2]],
      ]);
    });
  });
});

describe("several adapters", () => {
  test("are switched, switched off and deleted; the base stays as it was", async () => {
    const prints = [...base.namedParameters()].map(({ tensor }) => fingerprint(tensor));
    const plain = await logits();
    await without({ peftType: "LORA", r: 4, initLoraWeights: false }, async (model) => {
      const first = await logits();
      model.addAdapter(
        { peftType: "LORA", r: 2, initLoraWeights: false, targetModules: ["o_proj"] },
        { adapterName: "second", seed: 9 },
      );
      const second = await logits();
      expect(second).not.toEqual(first);
      model.setAdapter("default");
      expect(await logits()).toEqual(first);
      expect(await model.withoutAdapter(logits)).toEqual(plain);
      await expect(model.withoutAdapter(() => Promise.reject(new Error("inside")))).rejects.toThrow("inside");
      expect(await logits()).toEqual(first);
      expect(model.trainableParameters().every(({ name }) => name.includes(".default"))).toBe(true);
      await model.savePretrained(join(folder, "two"));
      model.deleteAdapter("default");
      model.setAdapter("second");
      expect(await logits()).toEqual(second);
      model.disableAdapters();
      expect(await logits()).toEqual(plain);
      const again = await PeftModel.fromPretrained(base, join(folder, "two"), { adapterName: "loaded" });
      expect(await logits()).toEqual(first);
      await again.loadAdapter(join(folder, "two/second"), "other");
      expect(await logits()).toEqual(second);
      for (const name of again.adapterNames) again.deleteAdapter(name);
    });
    expect(await logits()).toEqual(plain);
    expect([...base.namedParameters()].map(({ tensor }) => fingerprint(tensor))).toEqual(prints);
    expect(base.runner.sessions.size).toBeGreaterThan(0);
  });

  test("of any rank share the compiled graphs", async () => {
    const count = async (r: number): Promise<number> =>
      without({ peftType: "LORA", r }, async () => (await logits(), base.runner.sessions.size));
    const sizes = [await count(3), await count(7), await count(1)];
    expect(new Set(sizes).size).toBe(1);
  });
});

describe("mistakes", () => {
  test("options", async () => {
    const bad = {
      peftType: "LORA",
      r: 0,
      lora_alpha: 3,
      targetModule: ["q_proj"],
      rank: 4,
    } as unknown as PeftConfig;
    expect(await messageOf(() => getPeftModel(base, bad))).toMatchInlineSnapshot(`
      "LORA has 4 options that cannot be used.
        r             0 is too small; at least 1 was expected
        lora_alpha    there is no such option; did you mean loraAlpha?
        targetModule  there is no such option; did you mean targetModules?
        rank          there is no such option; it is called r here
      fix: r: 8"
    `);
  });
  test("names", async () => {
    await without({ peftType: "LORA" }, async (model) => {
      expect(await messageOf(async () => model.addAdapter({ peftType: "LORA" }))).toMatchInlineSnapshot(`
        "There is an adapter called "default" already.
        fix: choose another adapterName
         or: delete it first: model.deleteAdapter("default")"
      `);
      expect(await messageOf(async () => model.setAdapter("defalt"))).toMatchInlineSnapshot(`
        "There is no adapter called "defalt".
          nearest   default
          adapters  default"
      `);
      expect(
        await messageOf(async () => model.addAdapter({ peftType: "LORA" }, { adapterName: "a.b" })),
      ).toMatchInlineSnapshot(
        `""a.b" cannot be the name of an adapter: letters, digits, _ and - can be used."`,
      );
    });
  });
  test("targets", async () => {
    const targets = (targetModules: string | string[], excludeModules?: string[]) =>
      messageOf(() => getPeftModel(base, { peftType: "LORA", targetModules, excludeModules }));
    expect(await targets(["q_proj", "nothing_like_it"])).toMatchInlineSnapshot(`
      "targetModules: "nothing_like_it" matches no module of FIXTURES/llama/model.
        matched         "q_proj" (3 modules)
        can be adapted  embed_tokens (1)  q_proj (3)  k_proj (3)  v_proj (3)  o_proj (3)  gate_proj (3)  up_proj (3)  down_proj (3)  lm_head (1)
      fix: see all paths: peft match FIXTURES/llama/model
       or: for what may be absent: { match: "name", optional: true }"
    `);
    expect(await targets("(q_proj")).toMatchInlineSnapshot(`
      "targetModules: "(q_proj" is not a regular expression.
        reason  Invalid regular expression: /^(?:(q_proj)$/s: Unterminated group
      fix: for a name, write a list: targetModules: ["(q_proj"]"
    `);
    expect(await targets(["q_proj"], ["q_proj"])).toMatchInlineSnapshot(`
      "All 3 modules that targetModules matches are left out by excludeModules.
      fix: shorten excludeModules"
    `);
    expect(await targets(["q_proj"], ["qproj"])).toMatchInlineSnapshot(`
      "excludeModules: "qproj" matches no module of FIXTURES/llama/model.
        nearest    "q_proj" for "qproj"
        there are  model (1)  embed_tokens (1)  self_attn (3)  q_proj (3)  k_proj (3)  v_proj (3)  o_proj (3)  mlp (3)  gate_proj (3)  up_proj (3)  down_proj (3)  input_layernorm (3)  post_attention_layernorm (3)  norm (1)  lm_head (1)
      fix: excludeModules: ["q_proj"]"
    `);
    expect([...base.modules()].every(({ attachments }) => attachments.length === 0)).toBe(true);
  });
  test("adapter files", async () => {
    const broken = async (name: string, tensors: readonly string[]): Promise<string> => {
      const path = join(folder, name);
      cpSync(join(fixturesFolder, "llama/adapter"), path, { recursive: true });
      const all = tensors.map(
        (key) => [key, { dtype: "float32", shape: [2, 2], data: new Float32Array(4) }] as const,
      );
      await writeSafetensors(join(path, "adapter_model.safetensors"), all);
      return messageOf(() => PeftModel.fromPretrained(base, path));
    };
    expect(await broken("lacking", ["base_model.model.model.layers.0.self_attn.q_proj.lora_a.weight"]))
      .toMatchInlineSnapshot(`
        "DIR/lacking/adapter_model.safetensors lacks 2 of the 2 tensors this adapter needs and holds 1 tensors that nothing uses.
          missing   base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight  (4, 32)
                    base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight  (32, 4)
          not used  base_model.model.model.layers.0.self_attn.q_proj.lora_a.weight  (2, 2)
          config    DIR/lacking/adapter_config.json: LORA, made for test/fixtures/llama/model
        fix: load the adapter on the base model it was made for"
      `);
    const path = join(folder, "pickle");
    cpSync(join(fixturesFolder, "llama/adapter"), path, { recursive: true });
    rmSync(join(path, "adapter_model.safetensors"));
    writeFileSync(join(path, "adapter_model.bin"), "");
    expect(await messageOf(() => PeftModel.fromPretrained(base, path))).toMatchInlineSnapshot(`
      "DIR/pickle holds its weights as adapter_model.bin, which can run code when it is read and is not.
      fix: save it again with Python: model.save_pretrained(folder)"
    `);
    expect([...base.modules()].every(({ attachments }) => attachments.length === 0)).toBe(true);
  });
});

test("merging into a tied head leaves the embedding alone", async () => {
  const own = await AutoModelForCausalLM.fromPretrained(join(fixturesFolder, "llama/model"));
  const model = await getPeftModel(own, {
    peftType: "LORA",
    targetModules: ["lm_head"],
    initLoraWeights: false,
  });
  const before = (await model.forward(batch)).logits.data;
  const merged = await model.mergeAndUnload();
  expectClose("logits", (await merged.forward(batch)).logits.data, before);
  await merged.savePretrained(join(folder, "untied"));
  const again = await AutoModelForCausalLM.fromPretrained(join(folder, "untied"));
  expectClose("saved", (await again.forward(batch)).logits.data, before);
  expect(again.config.values["tie_word_embeddings"]).toBe(false);
  await again.close();
  await own.close();
});
