import { z } from "zod";
import { choice, flag, type Option, optionalText, type OptionValues } from "../base/option.js";

/** The words that stand for each class: `{ great: "great", other: ["terrible", "bad"] }`. */
export type Verbalizer = Readonly<Record<string, string | readonly string[]>>;

const words = z.union([z.string(), z.array(z.string()).readonly()]);

/** Words by class, or a file that holds them. */
const verbalizer: Option<Verbalizer | string | undefined> = {
  schema: z.union([z.string(), z.record(z.string(), words)]).optional(),
  default: undefined,
  doc: 'Words that stand for each class, as JSON or a file of it: {"great": "great", "other": ["terrible", "bad"]}.',
  placeholder: "<json|file>",
  fromText(value) {
    if (!value.trimStart().startsWith("{")) return value;
    try {
      return JSON.parse(value) as unknown;
    } catch {
      return value;
    }
  },
  expected: "a word or a list of words for each class",
  example: { great: "great", other: ["terrible", "bad"] },
};

/** Text with placeholders; on the command line \n is a line break, as run files and code have it in quotes. */
const template: Option<string | undefined> = {
  ...optionalText({
    doc: "Text that a cloze puts around a row: {text} for a column of the data, {mask} for the word to be found.",
  }),
  fromText: (value) => value.replaceAll("\\n", "\n"),
};

/** How a class is predicted as a word; declared once for TypeScript, run files, flags and `cloze.json`. */
export const clozeOptions = {
  template,
  verbalizer,
  combineWords: choice({
    values: ["mean", "sum"],
    default: "mean",
    doc: "Score of a class of several words: the mean of their scores, or the logarithm of the sum of their probabilities.",
  }),
  lengthNormalization: flag({
    default: false,
    doc: "Divides the log-probability of a word of several tokens by their number.",
  }),
};

export type ClozeSettings = OptionValues<typeof clozeOptions>;

/** A template with the words that stand for the classes. */
export interface ClozeOptions extends Partial<Pick<ClozeSettings, "combineWords" | "lengthNormalization">> {
  /**
   * Text around every row: `{text}` stands for the column of that name, `{mask}` or the tokenizer's own mask token for the word
   * to be found; braces themselves are written twice. A causal model finds what comes at the end, so that it can be left out there.
   */
  readonly template: string;
  /** Words of each class, by the label that the data has for it. */
  readonly verbalizer: Verbalizer;
}
