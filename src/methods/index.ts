import type { OptionValues } from "../base/option.js";
import { lora } from "./lora.js";

/** Every method, by `peft_type`. */
export const methods = { LORA: lora };

export type PeftType = keyof typeof methods;

/** What a user writes for a method: its options, all of them optional, with `peftType`. */
export type PeftConfig = {
  [K in PeftType]: { readonly peftType: K } & Partial<OptionValues<(typeof methods)[K]["config"]>>;
}[PeftType];
