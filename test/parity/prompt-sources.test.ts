import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  AutoModelForCausalLM,
  AutoModelForSeq2SeqLM,
  createEngine,
  type Engine,
  getPeftModel,
  openSafetensors,
  type PeftConfig,
  PeftModel,
} from "../../src/index.js";
import { toCamelCase } from "../../src/base/spelling.js";
import { expectClose } from "../support/close.js";
import { fixturesFolder } from "../support/fixture.js";

const root = join(fixturesFolder, "prompts-source");
const facts = JSON.parse(readFileSync(join(root, "facts.json"), "utf8")) as Record<
  string,
  Readonly<Record<string, unknown>> & {
    readonly base: string;
    readonly source: string;
    readonly task: string;
  }
>;

let engine: Engine;
const temporary = mkdtempSync(join(tmpdir(), "peft-prompt-sources-"));
beforeAll(async () => {
  engine = await createEngine();
});
afterAll(async () => {
  await engine.close();
  rmSync(temporary, { recursive: true });
});

function open(name: string) {
  const { base, source, task, ...options } = facts[name]!;
  const auto = task === "CAUSAL_LM" ? AutoModelForCausalLM : AutoModelForSeq2SeqLM;
  const own = Object.entries(options).map(([key, value]) => [toCamelCase(key), value]);
  const path = join(fixturesFolder, source);
  return {
    base: auto.fromPretrained(join(fixturesFolder, base), { engine }) as ReturnType<
      typeof AutoModelForCausalLM.fromPretrained
    >,
    path,
    config: (file = path): PeftConfig =>
      ({
        peftType: "MULTITASK_PROMPT_TUNING",
        promptTuningInitStateDictPath: file,
        ...Object.fromEntries(own),
      }) as PeftConfig,
  };
}

const batch = {
  inputIds: [
    [5, 9, 14, 3],
    [7, 7, 21, 40],
  ],
  labels: [
    [5, 9, 14, 3],
    [7, 7, 21, 40],
  ],
  taskIds: [0, 0],
};

describe.each(Object.keys(facts))("%s", (name) => {
  test("starts as Hugging Face PEFT does", async () => {
    const { base: opening, config, path } = open(name);
    const base = await opening;
    const expected = await openSafetensors(join(root, "expected.safetensors"));
    const model = await getPeftModel(base, config());
    for (const [key, { data }] of model.adapter().tensors) {
      if (!expected.tensors.has(`${name}.${key}`)) continue;
      expectClose(key, data, expected.read(`${name}.${key}`).data as Float32Array, { absolute: 1e-7 });
    }
    if (expected.tensors.has(`${name}.logits`)) {
      const { logits } = await model.forward(batch);
      expectClose("logits", logits.data, expected.read(`${name}.logits`).data as Float32Array);
    }
    const folder = join(temporary, name);
    await model.savePretrained(folder);
    expect(JSON.parse(readFileSync(join(folder, "adapter_config.json"), "utf8"))).toMatchObject({
      prompt_tuning_init: facts[name]!["prompt_tuning_init"],
      prompt_tuning_init_state_dict_path: path,
      prompt_tuning_init_task: facts[name]!["prompt_tuning_init_task"] ?? 0,
    });
    const before = await model.forward(batch);
    model.deleteAdapter("default");
    const again = await PeftModel.fromPretrained(base, folder);
    expectClose("again", (await again.forward(batch)).logits.data, before.logits.data, { absolute: 1e-6 });
    await base.close();
  });
});

test("a folder serves too, and every task of the adapter begins with the factors of the source", async () => {
  const { base: opening, config, path } = open("exact");
  const base = await opening;
  const model = await getPeftModel(base, { ...config(dirname(path)), numTasks: 3 } as PeftConfig);
  const { data } = model.adapter().tensors.get("prefix_task_rows")!;
  const size = data.length / 3;
  const expected = await openSafetensors(join(root, "expected.safetensors"));
  for (let task = 0; task < 3; task += 1)
    expectClose(
      `task ${task}`,
      data.subarray(task * size, (task + 1) * size),
      expected.read("exact.prefix_task_rows").data as Float32Array,
      { absolute: 1e-7 },
    );
  await base.close();
});

test("mistakes", async () => {
  const { base: opening, config } = open("exact");
  const base = await opening;
  const fault = async (changes: object): Promise<string> =>
    getPeftModel(base, { ...config(), ...changes } as PeftConfig).then(
      () => "nothing was thrown",
      (error: unknown) => (error as Error).message.replaceAll(fixturesFolder, "fixtures"),
    );
  expect(await fault({ promptTuningInitTask: 2 })).toMatchInlineSnapshot(`
    "promptTuningInitTask: fixtures/prompts/multitask-llama/adapter/adapter_model.safetensors knows the tasks 0 to 1; there is no task 2.
    fix: promptTuningInitTask: 1
     or: promptTuningInit: "AVERAGE_SOURCE_TASKS""
  `);
  expect(await fault({ numRanks: 3 })).toMatchInlineSnapshot(`
    "fixtures/prompts/multitask-llama/adapter/adapter_model.safetensors: prefix_task_cols is of shape (2, 4, 2); (any, 4, 3) was expected.
    fix: numRanks: 2
     or: the base that the source was trained on"
  `);
  expect(await fault({ numVirtualTokens: 7 })).toMatchInlineSnapshot(`
    "fixtures/prompts/multitask-llama/adapter/adapter_model.safetensors: prompt_embeddings is of shape (4, 32); (7, 32) was expected.
    fix: numVirtualTokens: 4
     or: the base that the source was trained on"
  `);
  expect(await fault({ promptTuningInitStateDictPath: undefined })).toMatchInlineSnapshot(`
    "MULTITASK_PROMPT_TUNING has an option that cannot be used.
      promptTuningInitStateDictPath  with promptTuningInit: it is needed and not given
    fix: promptTuningInit: "RANDOM""
  `);
  expect(await fault({ promptTuningInit: "RANDOM", promptTuningInitTask: 0 })).toMatchInlineSnapshot(`
    "MULTITASK_PROMPT_TUNING has an option that cannot be used.
      promptTuningInitStateDictPath  with promptTuningInit: it has no effect
    fix: promptTuningInit: "AVERAGE_SOURCE_TASKS""
  `);
  expect(await fault({ promptTuningInit: "AVERAGE_SOURCE_TASKS" })).toMatchInlineSnapshot(`
    "MULTITASK_PROMPT_TUNING has an option that cannot be used.
      promptTuningInitTask  with promptTuningInit: it has no effect
    fix: promptTuningInitTask: 0"
  `);
  expect(
    await fault({
      promptTuningInitStateDictPath: join(fixturesFolder, "prompts/prompt-llama/adapter"),
    }),
  ).toMatchInlineSnapshot(`
    "fixtures/prompts/prompt-llama/adapter holds no prefix_task_cols, which the start is made of.
      it holds  prompt_embeddings
    fix: give the folder or the file of an adapter of multitask prompt tuning"
  `);
  expect(await fault({ promptTuningInitStateDictPath: "/nowhere.safetensors" })).toMatchInlineSnapshot(
    `"There is no file /nowhere.safetensors."`,
  );
  const model = await getPeftModel(base, { peftType: "LORA" });
  expect(() => model.addAdapter(config(), { adapterName: "second" })).toThrowError(
    /addAdapter reads no files/,
  );
  await base.close();
});
