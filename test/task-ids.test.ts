import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { AutoModel } from "../src/index.js";
import { commandLine } from "./support/command-line.js";
import { tinyTokenizerFiles } from "./support/tiny-tokenizer.js";

const { folder, at, peft, line } = commandLine("task-ids");

const write = (name: string, rows: readonly object[]): void =>
  writeFileSync(at(name), rows.map((row) => `${JSON.stringify(row)}\n`).join(""));

beforeAll(async () => {
  const config = { model_type: "bert", vocab_size: 259, hidden_size: 16, num_hidden_layers: 2 };
  const sizes = { num_attention_heads: 2, intermediate_size: 32, max_position_embeddings: 64 };
  const model = await AutoModel.fromConfig({ ...config, ...sizes, initializer_range: 0.2 }, { seed: 1 });
  await model.savePretrained(at("bert"));
  await model.close();
  const files = tinyTokenizerFiles({ template: false });
  writeFileSync(at("bert/tokenizer.json"), JSON.stringify(files.tokenizer));
  writeFileSync(at("bert/tokenizer_config.json"), JSON.stringify(files.config));
  const rows = ["a cat", "a dog", "red", "blue"].map((prompt, i) => ({ prompt, i }));
  write(
    "two.jsonl",
    rows.map(({ prompt, i }) => ({ prompt, completion: `${i}`, kind: i < 2 ? "animal" : "colour" })),
  );
  write(
    "labels.jsonl",
    rows.map(({ prompt, i }) => ({ text: prompt, label: i % 2 ? "odd" : "even", task_id: i < 2 ? 0 : 1 })),
  );
});
afterAll(() => rmSync(folder, { recursive: true }));

const COMMON =
  "--peft-type MULTITASK_PROMPT_TUNING --num-virtual-tokens 4 --max-steps 2 --batch-size 2 --num-ranks 2";

test("tasks by name: trained, kept beside the adapter, asked for, and the start of a further task", () => {
  const causal = `train --model embedded --dataset two.jsonl ${COMMON}`;
  const { code, out, err } = line(`${causal} --num-tasks 2 --columns task_id=kind --output-dir two`);
  expect(code, err).toBe(0);
  expect(out).toContain("tasks: animal, colour");
  expect(out).toContain("peft generate embedded --adapter two --task-id animal)");
  expect(JSON.parse(readFileSync(at("two/tasks.json"), "utf8"))).toEqual({ names: ["animal", "colour"] });
  const ask = (...task: string[]) =>
    peft("generate", "embedded", "a cat", "--adapter", "two", "--max-new-tokens", "3", ...task);
  expect(ask("--task-id", "colour")).toMatchObject({ code: 0, err: "" });
  expect(ask("--task-id", "colour").out).toBe(ask("--task-id", "1").out);
  expect(ask().err).toMatchInlineSnapshot(`
    "The adapter knows several tasks, and none was named.
      tasks  animal, colour
    fix: --task-id animal
    "
  `);
  expect(ask("--task-id", "color").err).toMatchInlineSnapshot(`
    "--task-id: "color" is none of the tasks animal, colour (colour?).
    fix: --task-id colour
    "
  `);
  const start = "--prompt-tuning-init EXACT_SOURCE_TASK --prompt-tuning-init-task 1";
  const next = line(`${causal} ${start} --prompt-tuning-init-state-dict-path two --output-dir next`);
  expect(next.code, next.err).toBe(0);
  expect(next.out).not.toContain("tasks:");
  expect(peft("generate", "embedded", "a", "--adapter", "next", "--max-new-tokens", "2").code).toBe(0);
}, 120_000);

test("tasks by number: labels of texts, and rows that say their tasks", () => {
  const { code, err } = line(
    `train --task seq-cls --model bert --dataset labels.jsonl ${COMMON} --num-tasks 2 --output-dir cls`,
  );
  expect(code, err).toBe(0);
  const ask = (...rest: string[]) => peft("predict", "bert", "--adapter", "cls", ...rest);
  const [first, second] = ["0", "1"].map((task) => ask("a cat", "--task-id", task));
  expect(first).toMatchObject({ code: 0, err: "" });
  expect(first!.out).not.toBe(second!.out);
  expect(ask("--dataset", "labels.jsonl").out).toContain("rows 4");
  const bare = join(folder, "bare.jsonl");
  write("bare.jsonl", [{ text: "a cat", label: "even" }]);
  expect(ask("--dataset", bare).err).toContain("1 of 1 rows say no task that the adapter knows.");
  expect(ask("--dataset", bare, "--task-id", "1").out).toContain("rows 1");
  expect(peft("generate", "embedded", "a", "--task-id", "1").err).toMatchInlineSnapshot(`
    "--task-id has no effect: the adapter has no tasks, or there is no adapter.
    fix: leave --task-id out
    "
  `);
}, 120_000);
