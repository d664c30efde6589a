import { ConfigError } from "../base/errors.js";
import { Random } from "../base/random.js";
import { readOptions } from "../base/read-options.js";
import { collate as collateTokens, type TaskBatch } from "./collate.js";
import {
  type EncodedExample,
  encodeExample,
  type EncodingOptions,
  encodingOptions,
} from "./encode-example.js";
import { type Columns, readExamples, type Row } from "./rows.js";
import { type TaskSet, withTasks } from "./task-ids.js";
import type { Tokenizer } from "./tokenizer.js";

/** Counts of a data set after encoding. */
export interface DatasetSummary {
  readonly rows: number;
  readonly tokens: number;
  readonly trainedTokens: number;
  readonly longest: number;
  /** Rows that were cut at the end. */
  readonly truncatedRows: number;
  /** Rows left out because nothing of their answer was left. */
  readonly skippedRows: number;
}

/** Encoded examples in memory. */
export class Dataset {
  constructor(
    readonly examples: readonly EncodedExample[],
    readonly skippedRows = 0,
    /** Makes a batch of examples. */
    readonly collate: (examples: readonly EncodedExample[]) => TaskBatch = collateTokens,
  ) {}

  get length(): number {
    return this.examples.length;
  }

  get summary(): DatasetSummary {
    const sum = (count: (example: EncodedExample) => number): number =>
      this.examples.reduce((total, example) => total + count(example), 0);
    return {
      rows: this.examples.length,
      tokens: sum(
        ({ inputIds, labels, labelsApart }) => inputIds.length + (labelsApart === true ? labels.length : 0),
      ),
      trainedTokens: sum((example) => example.trained),
      longest: this.examples.reduce((most, example) => Math.max(most, example.inputIds.length), 0),
      truncatedRows: sum((example) => (example.truncated > 0 ? 1 : 0)),
      skippedRows: this.skippedRows,
    };
  }

  /** Puts a share of the examples, chosen by the seed, into a second data set. */
  split(share: number, seed: number): { train: Dataset; heldOut: Dataset } {
    const order = new Random(seed).shuffle(this.examples.map((_, i) => i));
    const count = Math.round(this.examples.length * share);
    const chosen = new Set(order.slice(0, count));
    const pick = (keep: (i: number) => boolean): Dataset =>
      new Dataset(
        this.examples.filter((_, i) => keep(i)),
        0,
        this.collate,
      );
    return { train: pick((i) => !chosen.has(i)), heldOut: pick((i) => chosen.has(i)) };
  }
}

/**
 * Encodes rows.
 *
 * @throws {@link ConfigError} `row_shape`, `task_id`, or `nothing_to_train` where no row has a token left that would be learnt
 */
export function encodeDataset(
  rows: readonly Row[],
  tokenizer: Tokenizer,
  options: Partial<EncodingOptions> & {
    readonly columns?: Columns;
    /** The tasks of the adapter, where rows say which is theirs. */
    readonly tasks?: TaskSet | undefined;
  } = {},
): Dataset {
  const { columns, tasks, ...rest } = options;
  const settings = readOptions(encodingOptions, rest, { source: "data set" });
  const plain = readExamples(rows, columns).map((example) => encodeExample(example, tokenizer, settings));
  const encoded = withTasks(plain, rows, { tasks, columns });
  const useful = encoded.filter((example) => example.trained > 0);
  if (useful.length > 0) return new Dataset(useful, encoded.length - useful.length);
  const longest = encoded.reduce(
    (most, { inputIds, truncated }) => Math.max(most, inputIds.length + truncated),
    0,
  );
  throw new ConfigError({
    code: "nothing_to_train",
    summary: `None of the ${encoded.length} rows has a token left to learn.`,
    facts: [
      ["maxLength", `${settings.maxLength} tokens`],
      ["longest row", `${longest} tokens`],
      ["cut", `${encoded.filter(({ truncated }) => truncated > 0).length} rows are cut before their answer`],
    ],
    fixes: [`maxLength: ${Math.max(longest, 2)}   (--max-length ${Math.max(longest, 2)})`],
    fields: { rows: encoded.length, maxLength: settings.maxLength, longest },
  });
}
