import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { expectClose } from "../../test/support/close.js";
import { fixturesFolder } from "../../test/support/fixture.js";
import {
  AutoModel,
  AutoModelForCausalLM,
  AutoModelForMaskedLM,
  getPeftModel,
  openSafetensors,
} from "../index.js";

const model = (name: string): string => join(fixturesFolder, "tasks", name, "model");
const folder = mkdtempSync(join(tmpdir(), "peft-masked-"));
afterAll(() => rmSync(folder, { recursive: true }));

const inputIds = [
  [5, 3, 7, 9],
  [8, 6, 3],
];
const labels = [
  [-100, 6, -100, -100],
  [-100, -100, 7],
];

test("labels stand at the masked tokens; the loss is summed over them alone", async () => {
  await using base = await AutoModelForMaskedLM.fromPretrained(model("bert-masked"));
  const { logits, loss } = await base.forward({ inputIds, labels });
  expect(logits.dims).toEqual([2, 4, 61]);
  const crossEntropy = (row: number, label: number): number => {
    const scores = logits.data.subarray(row * 61, (row + 1) * 61);
    return Math.log(scores.reduce((sum, score) => sum + Math.exp(score), 0)) - scores[label]!;
  };
  const sum = crossEntropy(1, 6) + crossEntropy(4 + 2, 7);
  expect(loss).toBeCloseTo(sum / 2, 4);
  const measured = await base.evaluate({ inputIds, labels });
  expect(measured.supervisedTokens).toBe(2);
  expect(measured.loss).toBeCloseTo(sum, 4);
  await expect(base.forward({ inputIds, labels: [[61, 1, 1, 1], labels[1]!] })).rejects.toThrow(
    "labels: row 0 holds 61",
  );
});

test.each([
  ["bert-masked", "cls.predictions.decoder", "cls.predictions"],
  ["distilbert-masked", "vocab_projector", undefined],
])(
  "%s: merging into the tied table leaves the embedding, and files say it as Python reads it",
  async (name, path, holder) => {
    const base = await AutoModelForMaskedLM.fromPretrained(model(name));
    const peft = await getPeftModel(base, { peftType: "LORA", r: 2, targetModules: [path] });
    for (const parameter of peft.trainableParameters())
      for (let i = 0; i < parameter.size; i += 1) parameter.data[i] = Math.sin(i + parameter.size);
    const before = (await peft.forward({ inputIds })).logits.data;
    const merged = await peft.mergeAndUnload();
    expectClose("merged", (await merged.forward({ inputIds })).logits.data, before, { absolute: 2e-3 });
    const target = join(folder, name);
    await merged.savePretrained(target);
    await base.close();
    const config = JSON.parse(readFileSync(join(target, "config.json"), "utf8")) as Record<string, unknown>;
    expect(config).toMatchObject({ tie_word_embeddings: false });
    const { tensors } = await openSafetensors(join(target, "model.safetensors"));
    const names = holder === undefined ? [`${path}.bias`] : [`${path}.bias`, `${holder}.bias`];
    for (const one of [...names, `${path}.weight`]) expect([...tensors.keys()]).toContain(one);
    const warnings: string[] = [];
    const onWarning = (text: string) => warnings.push(text);
    await using again = await AutoModelForMaskedLM.fromPretrained(target, { onWarning });
    expectClose("reloaded", (await again.forward({ inputIds })).logits.data, before, { absolute: 2e-3 });
    expect(warnings).toEqual([]);
  },
);

test("a checkpoint without the head is refused, and so is an architecture without one", async () => {
  const target = join(folder, "body");
  await using body = await AutoModel.fromPretrained(model("bert-masked"), { onWarning: () => undefined });
  await body.savePretrained(target);
  const text = await AutoModelForMaskedLM.fromPretrained(target).catch((error: Error) =>
    error.message.replaceAll(folder, "DIR"),
  );
  expect(text).toMatchInlineSnapshot(`
    "DIR/body holds no head of BertForMaskedLM, which is not trained anew.
      missing  cls.predictions.bias  (61)
               cls.predictions.transform.dense.weight  (16, 16)
               cls.predictions.transform.dense.bias  (16)
               cls.predictions.transform.LayerNorm.weight  (16)
               cls.predictions.transform.LayerNorm.bias  (16)
    fix: choose a checkpoint that was saved with it (architectures: BertForMaskedLM)
     or: train a new head of another task: peft train --task seq-cls"
  `);
  await expect(AutoModelForMaskedLM.fromPretrained(model("llama-token"))).rejects
    .toThrowErrorMatchingInlineSnapshot(`
    [UnsupportedError: Llama has no head for MASKED_LM.
      heads  CAUSAL_LM, SEQ_CLS, TOKEN_CLS, QUESTION_ANS, FEATURE_EXTRACTION
    fix: choose one of its heads, such as AutoModelForCausalLM   (--task causal-lm)]
  `);
  await expect(AutoModelForCausalLM.fromPretrained(model("bert-masked"))).rejects
    .toThrowErrorMatchingInlineSnapshot(`
    [UnsupportedError: BERT has no head for CAUSAL_LM.
      heads  MASKED_LM, SEQ_CLS, TOKEN_CLS, QUESTION_ANS, FEATURE_EXTRACTION
    fix: choose one of its heads, such as AutoModelForSequenceClassification   (--task seq-cls)]
  `);
});
