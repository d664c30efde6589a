import { ConfigError } from "../base/errors.js";
import { firstFew } from "../base/first-few.js";
import { suggest } from "../base/suggest.js";
import type { Message } from "./tokenizer.js";

/** A row of a data file, with where it stands, such as `train.jsonl:12`. */
export interface Row {
  readonly source: string;
  readonly value: Readonly<Record<string, unknown>>;
}

/** A row in one of the shapes that training knows. */
export type Example =
  | { readonly kind: "chat"; readonly source: string; readonly messages: readonly Message[] }
  | {
      readonly kind: "completion";
      readonly source: string;
      readonly prompt: string;
      readonly completion: string;
    }
  | { readonly kind: "text"; readonly source: string; readonly text: string };

/** Columns of a file under other names: `{ prompt: "question", completion: "answer" }`. */
export type Columns = Readonly<Record<string, string>>;

const ROLES: Readonly<Record<string, string>> = {
  human: "user",
  user: "user",
  gpt: "assistant",
  assistant: "assistant",
  model: "assistant",
  system: "system",
  observation: "tool",
  tool: "tool",
};

const KNOWN = [
  "messages",
  "conversations",
  "prompt + completion",
  "instruction (+ input) + output",
  "source + target",
  "text",
] as const;

type Value = Readonly<Record<string, unknown>>;

/** A fault of a row, as text; or the example. */
type Reading = { readonly fault: string } | Example;

const isText = (value: unknown): value is string => typeof value === "string" && value.trim() !== "";

function readMessages(source: string, list: unknown, role: string, content: string): Reading {
  if (!Array.isArray(list) || list.length === 0) return { fault: "its list of messages is empty or no list" };
  const messages: Message[] = [];
  for (const [i, item] of (list as Value[]).entries()) {
    const name = item?.[role];
    const text = item?.[content];
    const known = typeof name === "string" ? (ROLES[name] ?? name) : undefined;
    if (known === undefined) return { fault: `message ${i + 1} has no "${role}"` };
    if (typeof text !== "string") return { fault: `message ${i + 1} has no text in "${content}"` };
    messages.push({ ...item, role: known, content: text });
  }
  if (!messages.some((message) => message.role === "assistant"))
    return { fault: "no message is the assistant's" };
  return { kind: "chat", source, messages };
}

function readCompletion(source: string, prompt: unknown, completion: unknown): Reading {
  if (Array.isArray(prompt) && Array.isArray(completion)) {
    return readMessages(source, [...(prompt as unknown[]), ...(completion as unknown[])], "role", "content");
  }
  if (typeof prompt !== "string") return { fault: "its prompt is no text" };
  if (!isText(completion)) return { fault: "its completion has no text" };
  return { kind: "completion", source, prompt, completion };
}

function readInstruction(source: string, value: Value): Reading {
  const { instruction, input, output, system } = value;
  if (!isText(instruction)) return { fault: "its instruction has no text" };
  if (!isText(output)) return { fault: "its output has no text" };
  const prompt = isText(input) ? `${instruction}\n${input}` : instruction;
  if (!isText(system)) return { kind: "completion", source, prompt, completion: output };
  const turns = [
    { role: "system", content: system },
    { role: "user", content: prompt },
    { role: "assistant", content: output },
  ];
  return { kind: "chat", source, messages: turns };
}

function readRow({ source, value }: Row): Reading {
  if ("messages" in value) return readMessages(source, value["messages"], "role", "content");
  if ("conversations" in value) return readMessages(source, value["conversations"], "from", "value");
  if ("prompt" in value && "completion" in value)
    return readCompletion(source, value["prompt"], value["completion"]);
  if ("instruction" in value && "output" in value) return readInstruction(source, value);
  if ("source" in value && "target" in value) return readCompletion(source, value["source"], value["target"]);
  if ("text" in value) {
    return isText(value["text"])
      ? { kind: "text", source, text: value["text"] }
      : { fault: "its text is empty" };
  }
  const keys = Object.keys(value);
  const near = keys.flatMap((key) => {
    const [match] = suggest(key, [
      "messages",
      "conversations",
      "prompt",
      "completion",
      "instruction",
      "output",
      "source",
      "target",
      "text",
    ]);
    return match === undefined || match === key ? [] : [`${key} → ${match}?`];
  });
  const hint = near.length > 0 ? ` (${near.join(", ")})` : "";
  return { fault: `its keys are ${keys.join(", ") || "none"}${hint}` };
}

function renamed({ source, value }: Row, columns: Columns): Row {
  const entries = Object.entries(columns).flatMap(([name, column]) =>
    column in value ? [[name, value[column]]] : [],
  );
  return { source, value: { ...value, ...(Object.fromEntries(entries) as Value) } };
}

/**
 * Reads rows as examples.
 *
 * @throws {@link ConfigError} `row_shape` with every row that has no known shape or no text
 */
export function readExamples(rows: readonly Row[], columns: Columns = {}): Example[] {
  const examples: Example[] = [];
  const faults: string[] = [];
  for (const row of rows) {
    const reading = readRow(renamed(row, columns));
    if ("fault" in reading) faults.push(`${row.source}: ${reading.fault}`);
    else examples.push(reading);
  }
  if (faults.length > 0) {
    throw new ConfigError({
      code: "row_shape",
      summary: `${faults.length} of ${rows.length} rows cannot be trained on.`,
      facts: [
        ["rows", firstFew(faults)],
        ["shapes", KNOWN.join("\n")],
      ],
      fixes: [
        'rename columns: { prompt: "question", completion: "answer" }   (--columns prompt=question,completion=answer)',
      ],
      fields: { faults },
    });
  }
  return examples;
}
