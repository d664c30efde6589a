import { AutoModelForCausalLM } from "../auto/auto-model.js";
import type { CausalLanguageModel } from "../auto/causal-language-model.js";
import type { WeightDType } from "../auto/load-weights.js";
import { PeftModel } from "../peft/peft-model.js";
import { modelPath } from "./embedded.js";
import type { Terminal } from "./terminal.js";

/** Opens a base model, with an adapter where one is named. */
export async function openModel(
  name: string,
  adapter: string | undefined,
  options: { readonly terminal: Terminal; readonly dtype?: WeightDType; readonly signal: AbortSignal },
): Promise<{ base: CausalLanguageModel; model: PeftModel | undefined }> {
  const { terminal, dtype = "auto", signal } = options;
  const onWarning = (text: string): void => terminal.note(`warning: ${text}`);
  const base = await AutoModelForCausalLM.fromPretrained(modelPath(name), { dtype, signal, onWarning });
  try {
    const model = adapter === undefined ? undefined : await PeftModel.fromPretrained(base, adapter);
    for (const { text } of model?.warnings ?? []) onWarning(text);
    return { base, model };
  } catch (error) {
    await base.close();
    throw error;
  }
}
