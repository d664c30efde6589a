import type { Options, OptionValues } from "../base/option.js";
import { adalora } from "./adalora.js";
import { bitfit } from "./bitfit.js";
import { boft } from "./boft.js";
import { compacter } from "./compacter.js";
import { compacterPlusPlus } from "./compacter-plus-plus.js";
import { doubleSeqBn } from "./double-seq-bn.js";
import { fourierft } from "./fourierft.js";
import { hra } from "./hra.js";
import { ia3 } from "./ia3.js";
import { lnTuning } from "./ln-tuning.js";
import { loha } from "./loha.js";
import { lokr } from "./lokr.js";
import { lora } from "./lora.js";
import { multitaskPromptTuning } from "./multitask-prompt-tuning.js";
import { oft } from "./oft.js";
import { pTuning } from "./p-tuning.js";
import { parBn } from "./par-bn.js";
import { prefixTuning } from "./prefix-tuning.js";
import { promptTuning } from "./prompt-tuning.js";
import { scaledParBn } from "./scaled-par-bn.js";
import { seqBn } from "./seq-bn.js";
import { shira } from "./shira.js";
import { trainableTokens } from "./trainable-tokens.js";
import { vera } from "./vera.js";

/** Every method, by `peft_type`. */
export const methods = {
  LORA: lora,
  ADALORA: adalora,
  LOHA: loha,
  LOKR: lokr,
  VERA: vera,
  IA3: ia3,
  OFT: oft,
  BOFT: boft,
  HRA: hra,
  FOURIERFT: fourierft,
  SHIRA: shira,
  LN_TUNING: lnTuning,
  BITFIT: bitfit,
  TRAINABLE_TOKENS: trainableTokens,
  SEQ_BN: seqBn,
  DOUBLE_SEQ_BN: doubleSeqBn,
  PAR_BN: parBn,
  SCALED_PAR_BN: scaledParBn,
  COMPACTER: compacter,
  COMPACTER_PLUS_PLUS: compacterPlusPlus,
  PROMPT_TUNING: promptTuning,
  PREFIX_TUNING: prefixTuning,
  P_TUNING: pTuning,
  MULTITASK_PROMPT_TUNING: multitaskPromptTuning,
};

/**
 * Methods of other packages, so that their options are typed as those of this one are.
 *
 * @example
 * declare module "peft.js" { interface RegisteredMethods { SSF: typeof ssf } }
 */
// oxlint-disable-next-line typescript/no-empty-interface, typescript/no-empty-object-type
export interface RegisteredMethods {}

type Methods = typeof methods & RegisteredMethods;

export type PeftType = keyof Methods;

/** The options that were declared, without the index signature that every record of options has. */
type Declared<O> = { [K in keyof O as string extends K ? never : K]: O[K] };

type OptionsOf<M> = M extends { readonly config: infer O extends Options }
  ? Partial<OptionValues<Declared<O>>>
  : never;

/** What a user writes for a method: its options, all of them optional, with `peftType`. */
export type PeftConfig = {
  [K in PeftType]: { readonly peftType: K } & OptionsOf<Methods[K]>;
}[PeftType];
