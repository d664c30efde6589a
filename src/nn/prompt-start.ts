import { ConfigError, type Fact } from "../base/errors.js";
import { bfloat16ToFloat32, float16ToFloat32 } from "../base/half.js";
import type { PromptSizes, StatedSizes } from "../base/prompt-options.js";
import type { Random } from "../base/random.js";
import { toSnakeCase } from "../base/spelling.js";
import { rowsOf } from "./buffer-pool.js";
import { normal } from "./prompt-encoder.js";
import type { ModelSite, VirtualTokens } from "./site.js";

/** Where the virtual tokens of a method go. */
interface Target {
  readonly into: "input" | "keysAndValues";
}

/** The sizes of a model as adapter files of prompt methods state them. */
export function promptSizes({ layers, numLayers, width, stacks }: ModelSite, { into }: Target): PromptSizes {
  const { heads, keyValueHeads, headDim } = layers[0]!;
  const keys = into === "keysAndValues";
  return {
    // Keys and values are for the decoder, and files count the layers of the encoder: there are enough for both.
    numLayers: keys ? Math.max(numLayers, layers.length) : numLayers,
    tokenDim: keys ? keyValueHeads * headDim : width,
    numAttentionHeads: keys ? keyValueHeads : heads,
    numTransformerSubmodules: stacks.length,
  };
}

/** The sizes that a config may state beside those of the model. */
const mayState = (
  { layers, stacks }: ModelSite,
  { into }: Target,
): Partial<Record<keyof StatedSizes, (stated: number) => boolean>> =>
  stacks.length === 1
    ? {}
    : into === "input"
      ? { numTransformerSubmodules: (stated) => stated <= stacks.length }
      : { numLayers: (stated) => stated >= layers.length };

/**
 * The sizes of a model, compared with those that a config states. With an encoder and a decoder a config may have virtual tokens for one of
 * them (`numTransformerSubmodules: 1`), and prefixes for more layers than the decoder has.
 *
 * @throws {@link ConfigError} `prompt_sizes` with every one that is another
 */
export function checkedPromptSizes(site: ModelSite, config: StatedSizes, target: Target): PromptSizes {
  const sizes = promptSizes(site, target);
  const free = mayState(site, target);
  const statedSizes = (Object.keys(sizes) as (keyof PromptSizes)[]).flatMap((name) => {
    const stated = config[name];
    return stated === undefined || stated === sizes[name] ? [] : [{ name, stated }];
  });
  const wrong = statedSizes.filter(({ name, stated }) => free[name]?.(stated) !== true);
  if (wrong.length === 0)
    return { ...sizes, ...Object.fromEntries(statedSizes.map(({ name, stated }) => [name, stated])) };
  const facts = wrong.map(({ name, stated }): Fact => [
    `${name} (${toSnakeCase(name)})`,
    `${stated}; the model has ${sizes[name]}`,
  ]);
  throw new ConfigError({
    code: "prompt_sizes",
    summary: "The virtual tokens are made for a model of other sizes.",
    facts,
    fixes: [
      "leave these options out: they are taken from the model",
      "use the model the adapter was made for",
    ],
    fields: { stated: config, model: sizes },
  });
}

/** Virtual tokens of the input in all stacks of a model: the rows of their table. */
export const promptRows = (
  site: ModelSite,
  config: Pick<PromptStart, "numTransformerSubmodules" | "numVirtualTokens">,
): number => config.numVirtualTokens * (config.numTransformerSubmodules ?? site.stacks.length);

/** Where virtual tokens of the input stand: before what the model reads first, or before the tokens of each of its stacks. */
export const beforeInput = (
  site: ModelSite,
  { numTransformerSubmodules: stacks }: PromptSizes,
  { numVirtualTokens: count }: { readonly numVirtualTokens: number },
  where: "first" | "each",
): Pick<Extract<VirtualTokens, { into: "input" }>, "into" | "count" | "over" | "stacks"> => ({
  into: "input",
  count,
  stacks,
  over: site.stacks.slice(0, where === "first" ? 1 : stacks).map(({ over }) => over),
});

/** Embedded tokens as float32, without converting the rest of the table. */
function tableRows({ weight: table, scale }: ModelSite, ids: readonly number[]): Float32Array {
  const { tensor } = table;
  const width = tensor.dims[1]!;
  const result = new Float32Array(ids.length * width);
  for (const [i, id] of ids.entries()) {
    const { dtype, data } = rowsOf(tensor, id, id + 1);
    const row =
      dtype === "bfloat16"
        ? bfloat16ToFloat32(data as Uint16Array)
        : dtype === "float16"
          ? float16ToFloat32(data as Uint16Array)
          : (data as Float32Array);
    result.set(row, i * width);
  }
  return scale === 1 ? result : result.map((value) => value * scale);
}

/** `count` ids, those given over and over. */
function repeated(ids: readonly number[], count: number): number[] {
  return Array.from({ length: count }, (_, i) => ids[i % ids.length]!);
}

/** What says how virtual tokens of the input start. */
export interface PromptStart {
  readonly numVirtualTokens: number;
  readonly numTransformerSubmodules?: number | undefined;
  readonly promptTuningInit: "RANDOM" | "TEXT" | "SAMPLE_VOCAB";
  readonly promptTuningInitText?: string | undefined;
  readonly tokenizerKwargs?: Readonly<Record<string, unknown>> | undefined;
}

/**
 * Ids of the text that virtual tokens start as.
 *
 * @throws {@link ConfigError} `prompt_text_missing`, `prompt_text_empty` or `tokenizer_kwargs`
 */
function promptTextIds(
  { promptTuningInitText: text, tokenizerKwargs }: PromptStart,
  tokens: (text: string) => readonly number[],
): readonly number[] {
  if (text === undefined) {
    throw new ConfigError({
      code: "prompt_text_missing",
      summary: "promptTuningInit is TEXT, and there is no promptTuningInitText.",
      fixes: [
        'promptTuningInitText: "Classify the review as positive or negative:"',
        'promptTuningInit: "RANDOM"',
      ],
    });
  }
  if (Object.keys(tokenizerKwargs ?? {}).length > 0) {
    throw new ConfigError({
      code: "tokenizer_kwargs",
      summary: "tokenizerKwargs has no effect: the text is cut by the tokenizer of the base as it is.",
      fixes: ["leave tokenizerKwargs out"],
      fields: { tokenizerKwargs },
    });
  }
  const ids = tokens(text);
  if (ids.length > 0) return ids;
  throw new ConfigError({
    code: "prompt_text_empty",
    summary: `promptTuningInitText is ${JSON.stringify(text)}, which holds no token.`,
    fixes: ["give a text of at least one word"],
    fields: { text },
  });
}

/**
 * Fills the table of virtual tokens (S · n, D), S the stacks of the model; with zeros where its elements come from a file.
 *
 * @throws {@link ConfigError} as {@link promptTextIds}
 */
export function promptStart(
  site: ModelSite,
  config: PromptStart,
  scope: { readonly fromFile: boolean; tokens(text: string): readonly number[] },
): (data: Float32Array, random: Random) => void {
  const { promptTuningInit } = config;
  const count = promptRows(site, config);
  if (scope.fromFile) return () => undefined;
  if (promptTuningInit === "RANDOM") return normal(1);
  if (promptTuningInit === "TEXT") {
    const ids = repeated(
      promptTextIds(config, (text) => scope.tokens(text)),
      count,
    );
    return (data) => data.set(tableRows(site, ids));
  }
  return (data, random) => {
    const ids = Array.from({ length: count }, () => Math.floor(random.next() * site.vocabularySize));
    data.set(tableRows(site, ids));
  };
}
