import type { PretrainedModel } from "../auto/pretrained-model.js";
import type { PeftConfig } from "../methods/index.js";
import type { CalibratedAttachOptions } from "./attach-fresh.js";
import { PeftModel } from "./peft-model.js";

/**
 * Attaches a fresh adapter to a base model, which is frozen.
 *
 * @throws {@link ConfigError} with every unknown or bad option; {@link TargetError} for targets that match nothing
 * @example
 * const model = await getPeftModel(base, { peftType: "LORA", r: 8, loraAlpha: 16, targetModules: ["q_proj", "v_proj"] });
 * @example
 * const model = await getPeftModel(base, { peftType: "LORA", initLoraWeights: "eva" }, { calibration: batches });
 */
export async function getPeftModel<Base extends PretrainedModel>(
  base: Base,
  config: PeftConfig,
  options: CalibratedAttachOptions = {},
): Promise<PeftModel<Base>> {
  const model = new PeftModel(base);
  await model.calibrateAdapter(config, options);
  return model;
}
