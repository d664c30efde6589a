import { ConfigError } from "../base/errors.js";
import { firstFew } from "../base/first-few.js";
import type { Columns, Row } from "./rows.js";

/** Tasks whose rows have labels. */
export type LabelledTask = "SEQ_CLS" | "TOKEN_CLS" | "QUESTION_ANS";

/** A row of a data set with labels, as it is before anything is encoded. */
export type TaskExample =
  | {
      readonly task: "SEQ_CLS";
      readonly source: string;
      readonly text: string;
      readonly pair: string | undefined;
      readonly label: unknown;
    }
  | {
      readonly task: "TOKEN_CLS";
      readonly source: string;
      readonly words: readonly string[];
      readonly tags: readonly unknown[];
    }
  | {
      readonly task: "QUESTION_ANS";
      readonly source: string;
      readonly question: string;
      readonly context: string;
      readonly answer: string;
      readonly start: number;
    };

type Value = Readonly<Record<string, unknown>>;

const PAIRS = [
  ["text", "text_pair"],
  ["sentence", undefined],
  ["sentence1", "sentence2"],
  ["premise", "hypothesis"],
  ["question1", "question2"],
  ["question", "sentence"],
] as const;

const SHAPES: Readonly<Record<LabelledTask, string>> = {
  SEQ_CLS:
    "text or sentence (+ text_pair), or sentence1 + sentence2, premise + hypothesis …; label or labels",
  TOKEN_CLS: "tokens (a list of words) and tags, ner_tags or labels (one for each word)",
  QUESTION_ANS: "question, context, and answers { text: [..], answer_start: [..] } or answer + answer_start",
};

const EXAMPLES: Readonly<Record<LabelledTask, string>> = {
  SEQ_CLS: "text=review,label=score",
  TOKEN_CLS: "tokens=words,tags=pos",
  QUESTION_ANS: "context=passage",
};

const isText = (value: unknown): value is string => typeof value === "string" && value.trim() !== "";

const pick = (value: Value, names: readonly string[]): unknown => {
  const name = names.find((one) => one in value);
  return name === undefined ? undefined : value[name];
};

function readSequence(source: string, value: Value): TaskExample | string {
  const columns = PAIRS.find(
    ([first, second]) => first in value && (second === undefined || second in value),
  );
  const [first, second] = columns ?? ["text", undefined];
  if (!(first in value)) return `its keys are ${Object.keys(value).join(", ") || "none"}`;
  if (!isText(value[first])) return `its ${first} is empty or no text`;
  const pair = second === undefined ? undefined : value[second];
  if (pair !== undefined && typeof pair !== "string") return `its ${second} is no text`;
  const label = pick(value, ["label", "labels"]);
  if (label === undefined || label === null || label === "") return "it has no label";
  return { task: "SEQ_CLS", source, text: value[first], pair, label };
}

function readTokens(source: string, value: Value): TaskExample | string {
  const words = pick(value, ["tokens", "words"]);
  const tags = pick(value, ["tags", "ner_tags", "pos_tags", "labels"]);
  if (!Array.isArray(words) || words.length === 0 || !words.every((word) => typeof word === "string"))
    return "its tokens are no list of words";
  if (!Array.isArray(tags)) return "its tags are no list";
  if (tags.length !== words.length) return `it has ${words.length} tokens and ${tags.length} tags`;
  return { task: "TOKEN_CLS", source, words: words as string[], tags };
}

function readQuestion(source: string, value: Value): TaskExample | string {
  const { question, context } = value;
  if (!isText(question)) return "its question has no text";
  if (!isText(context)) return "its context has no text";
  const nested = (value["answers"] ?? {}) as { text?: unknown[]; answer_start?: unknown[] };
  const answer = nested.text?.[0] ?? value["answer"];
  const start = nested.answer_start?.[0] ?? value["answer_start"];
  if (!isText(answer)) return "it has no answer";
  const at = start === undefined ? context.indexOf(answer) : Number(start);
  if (context.slice(at, at + answer.length) !== answer)
    return "its answer is not at answer_start of its context";
  return { task: "QUESTION_ANS", source, question, context, answer, start: at };
}

const READERS = { SEQ_CLS: readSequence, TOKEN_CLS: readTokens, QUESTION_ANS: readQuestion };

/**
 * Reads rows with labels.
 *
 * @throws {@link ConfigError} `row_shape` with every row that does not have the shape of the task
 */
export function readTaskExamples(
  task: LabelledTask,
  rows: readonly Row[],
  columns: Columns = {},
): TaskExample[] {
  const examples: TaskExample[] = [];
  const faults: string[] = [];
  for (const { source, value } of rows) {
    const renamed = Object.entries(columns).flatMap(([name, column]) =>
      column in value ? [[name, value[column]] as const] : [],
    );
    const read = READERS[task](source, { ...value, ...Object.fromEntries(renamed) });
    if (typeof read === "string") faults.push(`${source}: ${read}`);
    else examples.push(read);
  }
  if (faults.length === 0) return examples;
  throw new ConfigError({
    code: "row_shape",
    summary: `${faults.length} of ${rows.length} rows cannot be trained on for ${task}.`,
    facts: [
      ["rows", firstFew(faults)],
      ["shape", SHAPES[task]],
    ],
    fixes: [`rename columns: --columns ${EXAMPLES[task]}`],
    fields: { task, faults },
  });
}
