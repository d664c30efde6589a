import { ConfigError } from "../base/errors.js";
import { firstFew } from "../base/first-few.js";
import { Dataset } from "./dataset.js";
import type { EncodedExample } from "./encode-example.js";
import { joinMessages } from "./join-messages.js";
import { type Columns, type Example, readExamples, type Row } from "./rows.js";
import { type TaskSet, withTasks } from "./task-ids.js";
import type { Tokenizer } from "./tokenizer.js";

export interface Seq2SeqEncodingOptions {
  /** Longest source and longest answer in tokens; what is over is cut off at the end. @defaultValue 1024 */
  readonly maxLength?: number | undefined;
  readonly columns?: Columns | undefined;
  /** The tasks of the adapter, where rows say which is theirs. */
  readonly tasks?: TaskSet | undefined;
}

/** A text with the token that ends it, also where the tokenizer does not put it there by itself. */
export function encodeWithEnd(tokenizer: Tokenizer, text: string): number[] {
  const ids = tokenizer.encode(text);
  const [end] = tokenizer.eosTokenIds;
  return end === undefined || ids.at(-1) === end ? ids : [...ids, end];
}

/** What is asked and what is to be answered; a conversation asks up to the last turn of the assistant. */
function sourceAndTarget(example: Exclude<Example, { kind: "text" }>): [source: string, target: string] {
  if (example.kind === "completion") return [example.prompt, example.completion];
  const { messages } = example;
  const last = messages.findLastIndex(({ role }) => role === "assistant");
  return [joinMessages(messages.slice(0, last)), messages[last]!.content];
}

/** Cuts what is over and keeps the token at the end. */
const cut = (ids: readonly number[], most: number): number[] =>
  ids.length <= most ? [...ids] : [...ids.slice(0, most - 1), ids.at(-1)!];

function encodeOne(
  example: Exclude<Example, { kind: "text" }>,
  tokenizer: Tokenizer,
  maxLength: number,
): EncodedExample {
  const [source, target] = sourceAndTarget(example).map((text) => encodeWithEnd(tokenizer, text));
  const [inputIds, labels] = [cut(source!, maxLength), cut(target!, maxLength)];
  return {
    source: example.source,
    inputIds,
    labels,
    labelsApart: true,
    truncated: source!.length + target!.length - inputIds.length - labels.length,
    trained: labels.length,
  };
}

/**
 * Encodes rows for an encoder with a decoder: the source for the one, the answer as labels for the other, each with its end token.
 *
 * @throws {@link ConfigError} `row_shape` with every row that has no known shape, or a text alone; `task_id`
 * @example
 * const dataset = encodeSeq2SeqDataset(rows, tokenizer, { maxLength: 512, columns: { prompt: "document", completion: "summary" } });
 */
export function encodeSeq2SeqDataset(
  rows: readonly Row[],
  tokenizer: Tokenizer,
  options: Seq2SeqEncodingOptions = {},
): Dataset {
  const { maxLength = 1024, columns, tasks } = options;
  const examples = readExamples(rows, columns);
  const alone = examples.filter((example) => example.kind === "text").map(({ source }) => source);
  if (alone.length > 0) {
    throw new ConfigError({
      code: "row_shape",
      summary: `${alone.length} of ${rows.length} rows hold a text alone, and nothing to answer.`,
      facts: [["rows", firstFew(alone)]],
      fixes: [
        "give source + target or prompt + completion",
        "learn plain text with a causal language model   (--task causal-lm)",
      ],
      fields: { rows: alone },
    });
  }
  const encoded = examples.flatMap((example) =>
    example.kind === "text" ? [] : [encodeOne(example, tokenizer, maxLength)],
  );
  return new Dataset(withTasks(encoded, rows, { tasks, columns }));
}
