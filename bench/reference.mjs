// Compares peft.js on SmolLM2-135M-Instruct with what bench/peer/reference.py wrote:
//   node bench/reference.mjs [MODEL]       the GGUF file, or the Hugging Face folder made from it
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { AdamW, AutoModelForCausalLM, generate, PeftModel } from "../dist/index.js";
import { cacheFolder as cache } from "../scripts/cache-folder.mjs";

const reference = join(cache, "reference");
const model = process.argv[2] ?? join(cache, "SmolLM2-135M-Instruct.Q4_1.gguf");
const json = (name) => JSON.parse(readFileSync(join(reference, name), "utf8"));
const { losses, answer, question, prompt } = json("reference.json");
const base = await AutoModelForCausalLM.fromPretrained(model);

const text = base.tokenizer.applyChatTemplate([{ role: "user", content: question }], {
  addGenerationPrompt: true,
});
const ids = base.tokenizer.encode(text, { addSpecialTokens: false });
const same = (a, b) => a.length === b.length && a.every((value, i) => value === b[i]);
const [ours] = await generate(base, [ids], { maxNewTokens: 64 });
console.log(`prompt ids equal: ${same(ids, prompt)}; greedy answer equal: ${same(ours.tokens, answer)}`);

const adapted = await PeftModel.fromPretrained(base, join(reference, "adapter"), { isTrainable: true });
const optimizer = new AdamW(adapted.trainableParameters(), { learningRate: 2e-4, weightDecay: 0 });
let worst = 0;
for (const [i, raw] of json("batches.json").entries()) {
  const batch = { inputIds: raw.input_ids, attentionMask: raw.attention_mask, labels: raw.labels };
  const { loss } = await adapted.backward(batch);
  await optimizer.step();
  optimizer.zeroGrad();
  const off = Math.abs(loss / losses[i] - 1);
  worst = Math.max(worst, off);
  console.log(
    `step ${i + 1}: ${loss.toFixed(6)}  reference ${losses[i].toFixed(6)}  relative ${off.toExponential(1)}`,
  );
}
console.log(`worst relative difference of ${losses.length} losses: ${worst.toExponential(2)} (allowed 1e-3)`);
await base.close();
const ok = worst < 1e-3 && same(ours.tokens, answer);
process.exit(ok ? 0 : 1);
