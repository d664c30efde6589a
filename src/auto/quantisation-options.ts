import type { Bnb4Format } from "../base/bnb4.js";
import { quantTypes } from "../base/code-books.js";
import { ConfigError } from "../base/errors.js";
import { choice, flag, type OptionValues } from "../base/option.js";
import { readOptions } from "../base/read-options.js";
import type { Checkpoint } from "../files/checkpoint.js";

/** How the weights of a float checkpoint are quantised when it is loaded; the names are those of Hugging Face's BitsAndBytesConfig. */
export const quantisationOptions = {
  loadIn4bit: flag({
    default: false,
    doc: "Keeps the weights of linear layers in codes of 4 bits (QLoRA); the head and embeddings stay as they are.",
  }),
  bnb4bitQuantType: choice({
    values: quantTypes,
    default: "nf4",
    doc: "What the codes stand for: nf4 for weights that are normally distributed, or fp4, which is the default of Hugging Face.",
  }),
  bnb4bitUseDoubleQuant: flag({
    default: false,
    doc: "Keeps the scales of the codes in 8 bits, too: 4.13 bits a weight instead of 4.5.",
  }),
};

export type QuantisationOptions = OptionValues<typeof quantisationOptions>;

/** Values of one block, as bitsandbytes has it where nothing is said. */
const BLOCK = 64;

/** Those of the options that say how weights are quantised. */
export const pickQuantisation = (options: object): Partial<QuantisationOptions> =>
  Object.fromEntries(Object.entries(options).filter(([key]) => Object.hasOwn(quantisationOptions, key)));

/**
 * The format that the weights of a checkpoint are put into; undefined where they stay as they are.
 *
 * @throws {@link ConfigError} `quantised_already` for a GGUF file
 */
export function wantedFormat(
  options: object,
  checkpoint: Checkpoint,
  onWarning: (text: string) => void,
): Bnb4Format | undefined {
  const {
    loadIn4bit,
    bnb4bitQuantType: quantType,
    bnb4bitUseDoubleQuant: nested,
  } = readOptions(quantisationOptions, pickQuantisation(options), { source: "fromPretrained" });
  if (!loadIn4bit) return undefined;
  if (checkpoint.names().some((name) => checkpoint.coded?.(name) !== undefined)) {
    onWarning(
      `${checkpoint.path} is in the codes of bitsandbytes already, which stay as they are: loadIn4bit has no effect`,
    );
    return undefined;
  }
  if (checkpoint.format === "safetensors") return { quantType, blockSize: BLOCK, nested };
  throw new ConfigError({
    code: "quantised_already",
    summary: `loadIn4bit quantises float weights, and ${checkpoint.path} is a GGUF file.`,
    fixes: [
      "leave it out: blocks of 4 bits are used as they are until something is trained",
      "load the folder that the file was made from",
    ],
    fields: { path: checkpoint.path },
  });
}
