import assert from "node:assert/strict";
import { after, test } from "node:test";
import { AutoModelForCausalLM, getPeftModel, registerMethod } from "peft.js";
import { ConformanceBench, tinyConfig } from "peft.js/testing";
import { ssf } from "./ssf.js";

const bench = new ConformanceBench();
after(() => bench.close());

for (const { title, run } of bench.cases(ssf, { models: ["llama", "gpt2", "bert"] }))
  test(title, async () => {
    assert.notEqual(await run(), "refused");
  });

test("its options are those of any other method", async () => {
  registerMethod(ssf);
  const base = await AutoModelForCausalLM.fromConfig(tinyConfig("llama"));
  const model = await getPeftModel(base, { peftType: "SSF", shift: false, targetModules: ["q_proj"] });
  assert.equal(model.parameterCount().trainable, 2 * 16);
  // @ts-expect-error: there is no such option
  await assert.rejects(getPeftModel(base, { peftType: "SSF", shfit: false }), /did you mean shift\?/);
  await base.close();
});
