import { ConfigError } from "../base/errors.js";
import type { ProblemType } from "./sequence-classifier.js";

/** What the outputs of a head mean. */
export interface LabelOptions {
  /** Number of outputs; the length of `id2label` where that is given. @defaultValue what the config says, else 2 */
  readonly numLabels?: number | undefined;
  /** Names of the outputs, in order or by number. */
  readonly id2label?: readonly string[] | Readonly<Record<number, string>> | undefined;
  /** @defaultValue what the config says, else one class; a number where there is one output */
  readonly problemType?: ProblemType | undefined;
}

/** Label options as keys of a config. */
export function labelConfig(options: LabelOptions): Record<string, unknown> {
  const { numLabels, id2label, problemType } = options;
  const names = id2label === undefined ? undefined : Object.entries({ ...id2label });
  if (numLabels !== undefined && !(Number.isInteger(numLabels) && numLabels > 0)) {
    throw new ConfigError({
      code: "label_count",
      summary: `numLabels: ${numLabels} is no number of labels; a positive whole number was expected.`,
      fields: { numLabels },
    });
  }
  if (names !== undefined) {
    const missing = names.findIndex((_, i) => !names.some(([id]) => id === String(i)));
    if (missing >= 0 || (numLabels !== undefined && numLabels !== names.length)) {
      throw new ConfigError({
        code: "label_names",
        summary:
          missing >= 0
            ? `id2label names ${names.length} labels and has none with the number ${missing}.`
            : `id2label names ${names.length} labels; numLabels is ${numLabels}.`,
        fixes: ["number the labels from 0 without a gap, and leave numLabels out"],
        fields: { numLabels, names: names.length, missing },
      });
    }
  }
  const plain = Array.from({ length: numLabels ?? 0 }, (_, i): [string, string] => [String(i), `LABEL_${i}`]);
  const all = names ?? (numLabels === undefined ? undefined : plain);
  return {
    ...(all === undefined
      ? {}
      : {
          id2label: Object.fromEntries(all),
          label2id: Object.fromEntries(all.map(([id, name]) => [name, Number(id)])),
        }),
    ...(problemType === undefined ? {} : { problem_type: problemType }),
  };
}
