import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { fixturesFolder } from "../../test/support/fixture.js";
import { AutoModelForCausalLM } from "../auto/auto-model.js";
import type { CausalLanguageModel } from "../auto/causal-language-model.js";
import { fromAdapterHub } from "../peft/adapterhub-config.js";
import { getPeftModel } from "../peft/get-peft-model.js";
import type { PeftConfig } from "./index.js";

let base: CausalLanguageModel;
beforeAll(async () => {
  base = await AutoModelForCausalLM.fromPretrained(join(fixturesFolder, "adapterhub/llama/model"));
});
afterAll(() => base.close());

const errorOf = (config: object): Promise<string> =>
  getPeftModel(base, { reductionFactor: 4, ...config } as PeftConfig).then(
    () => "it was taken",
    (error: unknown) => (error as Error).message.replaceAll(base.name, "LLAMA"),
  );

test("what is not here says so, with a cure", async () => {
  expect(await errorOf({ peftType: "SEQ_BN", useGating: true, invAdapter: "nice", stochasticDepth: 0.1 }))
    .toMatchInlineSnapshot(`
      "SEQ_BN has 3 options that cannot be used.
        useGating        a gate on the adapter is not supported: leave it out, and the adapter works without it, or use scaling: "learned"
        invAdapter       an invertible adapter behind the embedding is not supported: leave it out, and the adapter works without it
        stochasticDepth  dropping whole branches is not supported: leave it out, and the adapter works without it, or use dropout"
    `);
});

test("options that do not go together", async () => {
  expect(await errorOf({ peftType: "PAR_BN", originalLnBefore: true, residualBeforeLn: false }))
    .toMatchInlineSnapshot(`
      "PAR_BN has 2 options that cannot be used.
        originalLnBefore  with isParallel: a parallel adapter reads the residual stream as it is, and this has no effect
        residualBeforeLn  with isParallel: a parallel adapter reads the residual stream as it is, and this has no effect
      fix: originalLnBefore: false, residualBeforeLn: true"
    `);
  expect(await errorOf({ peftType: "DOUBLE_SEQ_BN", residualBeforeLn: "post_add" })).toMatchInlineSnapshot(`
    "DOUBLE_SEQ_BN has an option that cannot be used.
      residualBeforeLn  with originalLnBefore: post_add means the sum that originalLnBefore makes
    fix: originalLnBefore: true"
  `);
  expect(await errorOf({ peftType: "SEQ_BN", outputAdapter: false, phmDim: 2 })).toMatchInlineSnapshot(`
    "SEQ_BN has 2 options that cannot be used.
      phmDim     with phmLayer: it has no effect without Kronecker products
      mhAdapter  with outputAdapter: nothing would be adapted
    fix: phmLayer: true, outputAdapter: true"
  `);
  expect(
    await errorOf({ peftType: "COMPACTER", initWeights: "houlsby", sharedWPhm: true, factorizedPhmW: false }),
  ).toMatchInlineSnapshot(`
    "COMPACTER has 2 options that cannot be used.
      initWeights  with phmLayer: Kronecker factors have a start of their own (phmCInit)
      sharedWPhm   with factorizedPhmW: AdapterHub shares right factors only where they are factorised
    fix: initWeights: "bert", factorizedPhmW: true"
  `);
});

test("what does not fit the model", async () => {
  expect(await errorOf({ peftType: "SEQ_BN", residualBeforeLn: "post_add" })).toMatchInlineSnapshot(`
    "residualBeforeLn: "post_add" has no meaning at model.layers.0.mlp, where no norm follows the sum.
    fix: residualBeforeLn: false, which takes that sum here"
  `);
  expect(await errorOf({ peftType: "COMPACTER", reductionFactor: 8 })).toMatchInlineSnapshot(`
    "phmDim: 4 does not divide the width 2 of a projection at model.layers.0.self_attn.
      widths  16 and 2, the width of the model and that of the bottleneck
    fix: reductionFactor: 4, for a bottleneck of 4
     or: phmDim: a divisor of both widths"
  `);
  expect(await errorOf({ peftType: "SEQ_BN", reductionFactor: { "0": 2 } })).toMatchInlineSnapshot(`
    "reductionFactor has no number for layer 1 (model.layers.1.mlp).
      given for  0
    fix: add "1", or "default" for all layers that are not named
     or: leave the layer alone: leaveOut: [1]"
  `);
  expect(await errorOf({ peftType: "SEQ_BN", leaveOut: [0, 1] })).toMatchInlineSnapshot(`
    "LLAMA has no module that SEQ_BN can adapt.
    fix: choose another method"
  `);
});

test("AdapterHub has no words for every choice of modules", async () => {
  const model = await getPeftModel(base, {
    peftType: "SEQ_BN",
    mhAdapter: true,
    targetModules: ["layers.0.mlp", "layers.1.self_attn"],
  });
  const error = await model
    .savePretrained("/nowhere", { layout: "adapterhub" })
    .catch((fault: unknown) => fault);
  expect((error as Error).message).toMatchInlineSnapshot(`
    "The adapter default (SEQ_BN) cannot be written for AdapterHub: it adapts attention in some layers and not in others, for which AdapterHub has no words.
    fix: choose places with mhAdapter, crossAdapter, outputAdapter and leaveOut, and leave targetModules out
     or: savePretrained(folder), which peft.js reads"
  `);
  model.deleteAdapter("default");
});

const needed = { mh_adapter: false, output_adapter: true, reduction_factor: 16, non_linearity: "gelu" };
const read = (config: object, more: object = {}) =>
  fromAdapterHub(
    { config: { ...needed, ...config }, name: "x", version: "3", ...more },
    "adapter_config.json",
    [],
  );

test("configs of AdapterHub: what is left out, old names, other architectures", () => {
  expect(read({})).toMatchObject({ peft_type: "SEQ_BN", original_ln_before: false, non_linearity: "gelu" });
  expect(read({}, { version: undefined })).toMatchObject({ non_linearity: "gelu_new" });
  expect(read({ mh_adapter: true, phm_layer: true }).peft_type).toBe("COMPACTER");
  expect(read({ is_parallel: true, scaling: "learned" }).peft_type).toBe("SCALED_PAR_BN");
  expect(read({ inv_adapter: "nice" }, { type: "text_task" })).not.toHaveProperty("inv_adapter");
  expect(() => read({ architecture: "lora" })).toThrowErrorMatchingInlineSnapshot(`
    [UnsupportedError: adapter_config.json is an adapter of AdapterHub's architecture "lora".
      read from AdapterHub  bottleneck adapters, parallel ones and Compacter
    fix: train it with Hugging Face PEFT, whose files of all methods are read]
  `);
  expect(() => read({ reduction_factor: undefined })).toThrowErrorMatchingInlineSnapshot(`
    [ConfigError: adapter_config.json lacks reduction_factor, which every bottleneck adapter of AdapterHub has.
    fix: save the adapter again with a recent adapters: save_adapter(folder, name)]
  `);
  expect(() => fromAdapterHub({ config: "pfeiffer" }, "adapter_config.json", []))
    .toThrowErrorMatchingInlineSnapshot(`
    [ConfigError: adapter_config.json names its configuration ("pfeiffer") and does not hold it.
    fix: save the adapter again with a recent adapters: save_adapter(folder, name)]
  `);
});
