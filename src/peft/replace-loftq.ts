import { openPretrained } from "../auto/open-pretrained.js";
import { ConfigError } from "../base/errors.js";
import { namedModules } from "../nn/module.js";
import { type Attachment, type LinearSite, type Site, weightData } from "../nn/site.js";
import type { AttachedAdapter } from "./attached-adapter.js";
import type { PeftModel } from "./peft-model.js";

export interface ReplaceLoftqOptions {
  /**
   * The model before it was quantised: a folder, a file or a Hub id.
   *
   * @defaultValue what the base was loaded from
   */
  readonly modelPath?: string | undefined;
  /** @defaultValue the active adapter */
  readonly adapterName?: string | undefined;
  /**
   * Looks at the model after each module and answers whether its new weights are kept, for example by comparing scores with those of
   * the model before it was quantised.
   */
  readonly callback?: ((path: string) => boolean | Promise<boolean>) | undefined;
}

/** The linear layers in codes that an adapter can be fitted at. */
function fittable({
  places,
  attachments,
}: AttachedAdapter): { path: string; fit: NonNullable<Attachment["fitTo"]> }[] {
  return places.flatMap(({ path, site }) => {
    const { fitTo } = attachments.find((placed) => placed.path === path)?.attachment ?? {};
    const quantised = site.kind === "linear" && site.weight.coded !== undefined;
    return fitTo !== undefined && quantised ? [{ path, fit: fitTo }] : [];
  });
}

const nothingInCodes = (name: string): ConfigError =>
  new ConfigError({
    code: "loftq_nothing",
    summary: `The adapter ${name} holds on to no linear layer in codes that it could be fitted at.`,
    fixes: [
      "load the base with loadIn4bit: true, and attach LoRA without useDora",
      'initLoraWeights: "loftq" on a base that is not quantised',
    ],
    fields: { adapter: name },
  });

/** The weight of a layer in the model that was not quantised. */
function originalWeight(site: Site | undefined, path: string, from: string): Float32Array {
  const linear = site?.kind === "linear" ? (site satisfies LinearSite) : undefined;
  if (linear !== undefined && linear.weight.coded === undefined) return weightData(linear);
  throw new ConfigError({
    code: "loftq_original",
    summary: `${from} holds ${linear === undefined ? "no linear layer" : "the weight in codes, not the original one"} at ${path}.`,
    fixes: ["modelPath: the folder of the model before it was quantised"],
    fields: { path, from },
  });
}

/**
 * Sets A and B of LoRA on a quantised base so that they make up for what quantising lost, in the directions that lost most: s · B A is
 * the matrix of rank r that is nearest to W − Q, with W from the model before it was quantised. The base stays as it is, and the
 * adapter is an ordinary LoRA.
 *
 * @returns the modules whose weights were replaced.
 * @throws {@link ConfigError} `loftq_nothing` where the adapter holds on to nothing in codes, `loftq_original` where `modelPath` has no
 * original weights
 * @example
 * const base = await AutoModelForCausalLM.fromPretrained("smollm2", { loadIn4bit: true });
 * const model = await getPeftModel(base, { peftType: "LORA", targetModules: "all-linear" });
 * await replaceLoraWeightsLoftq(model);
 * @see Hugging Face PEFT, `replace_lora_weights_loftq`; Li et al., "LoftQ", arXiv:2310.08659
 */
export async function replaceLoraWeightsLoftq(
  model: PeftModel,
  { modelPath, adapterName, callback = () => true }: ReplaceLoftqOptions = {},
): Promise<string[]> {
  const adapter = model.adapter(adapterName);
  const places = fittable(adapter);
  if (places.length === 0) throw nothingInCodes(adapter.name);
  const { base } = model;
  const from = modelPath ?? base.checkpoint?.path ?? base.name;
  const { engine } = base;
  const whole = { task: base.taskType, config: base.config.values };
  const { module, checkpoint } = await openPretrained(from, whole, { engine, onWarning: () => undefined });
  try {
    const originals = new Map(namedModules(module));
    const replaced: string[] = [];
    for (const { path, fit } of places) {
      const undo = fit(originalWeight(originals.get(path)?.site(), path, from));
      if (await callback(path)) replaced.push(path);
      else undo();
    }
    return replaced;
  } finally {
    checkpoint?.close();
  }
}
