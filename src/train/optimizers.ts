import { AdamW } from "./adamw.js";
import { AdamW8bit } from "./adamw-8bit.js";

/** Optimisers by the name of `optim`: ours, and those that Hugging Face has for the same. */
export const optimizers = {
  adamw: AdamW,
  adamw_torch: AdamW,
  adamw_8bit: AdamW8bit,
  adamw_bnb_8bit: AdamW8bit,
} as const;

export type OptimizerName = keyof typeof optimizers;

export const optimizerNames = Object.keys(optimizers) as OptimizerName[];
