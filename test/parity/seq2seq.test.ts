import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  AdamW,
  AutoModelForSeq2SeqLM,
  createEngine,
  type Engine,
  generate,
  openSafetensors,
  PeftModel,
  type Seq2SeqBatch,
  type Seq2SeqLanguageModel,
} from "../../src/index.js";
import { relativeBucket } from "../../src/nn/relative-bias.js";
import { expectClose } from "../support/close.js";
import { fixturesFolder } from "../support/fixture.js";

interface RawBatch {
  readonly input_ids: number[][];
  readonly attention_mask: number[][];
  readonly labels: number[][];
}

interface Facts {
  readonly batch: RawBatch;
  readonly long: RawBatch;
  readonly methods: string[];
  readonly answers: Record<string, number[][]>;
  readonly losses: Record<string, number[]>;
  readonly learning_rate: number;
  readonly weight_decay: number;
}

const root = join(fixturesFolder, "seq2seq");
const readJson = <T>(path: string): T => JSON.parse(readFileSync(path, "utf8")) as T;
const factsOf = (name: string): Facts => readJson(join(root, name, "facts.json"));

let engine: Engine;
const temporary = mkdtempSync(join(tmpdir(), "peft-seq2seq-"));
beforeAll(async () => {
  engine = await createEngine({});
});
afterAll(async () => {
  await engine.close();
  rmSync(temporary, { recursive: true });
});

const toBatch = (raw: RawBatch): Seq2SeqBatch => ({
  inputIds: raw.input_ids,
  attentionMask: raw.attention_mask,
  labels: raw.labels,
});

/** Scores of the rows that are no padding. */
function realRows({ labels }: RawBatch, logits: Float32Array, every = 1): Float32Array {
  const columns = Math.ceil(labels[0]!.length / every);
  const width = logits.length / labels.length / columns;
  return Float32Array.from(
    labels.flatMap((row, b) => {
      const end = row.findLastIndex((label) => label !== -100);
      return Array.from({ length: columns }, (_, i) => i)
        .filter((i) => i * every <= end)
        .flatMap((i) => [...logits.subarray((b * columns + i) * width, (b * columns + i + 1) * width)]);
    }),
  );
}

async function open(name: string, options: { model?: string; activationBytes?: number } = {}) {
  const { model = join(root, name, "model"), ...rest } = options;
  const base = await AutoModelForSeq2SeqLM.fromPretrained(model, { engine, ...rest });
  const expected = await openSafetensors(join(root, name, "expected.safetensors"));
  const tensor = (key: string): Float32Array => expected.read(key).data as Float32Array;
  const keys = (prefix: string): string[] =>
    [...expected.tensors.keys()].filter((key) => key.startsWith(prefix));
  return { base, tensor, keys };
}

const scores = async (base: Seq2SeqLanguageModel, raw: RawBatch): Promise<Float32Array> =>
  realRows(raw, (await base.forward(toBatch(raw))).logits.data);

/** Greedy answers, all rows together and each by itself. */
async function greedy(
  base: Seq2SeqLanguageModel,
  { input_ids, attention_mask }: RawBatch,
): Promise<number[][]> {
  const prompts = input_ids.map((row, b) => row.filter((_, i) => attention_mask[b]![i] === 1));
  const together = await generate(base, prompts, { maxNewTokens: 8 });
  const alone = [];
  for (const prompt of prompts) alone.push(...(await generate(base, [prompt], { maxNewTokens: 8 })));
  const tokens = together.map((answer) => [...answer.tokens]);
  expect(alone.map((answer) => [...answer.tokens])).toEqual(tokens);
  return tokens;
}

test("buckets by distance", () => {
  const { first, tables } = readJson<{
    first: number;
    tables: { buckets: number; maxDistance: number; bidirectional: boolean; rows: number[] }[];
  }>(join(root, "buckets.json"));
  for (const { rows, ...options } of tables)
    expect(rows.map((_, i) => relativeBucket(first + i, options))).toEqual(rows);
});

describe.each(["t5", "t5-v1_1"])("%s", (name) => {
  const facts = factsOf(name);

  test("base: logits, loss and greedy answers", async () => {
    const { base, tensor } = await open(name);
    const { logits, loss } = await base.forward(toBatch(facts.batch));
    expect(logits.dims).toEqual([3, 7, 61]);
    expectClose("logits", realRows(facts.batch, logits.data), realRows(facts.batch, tensor("base.logits")));
    expectClose("loss", [loss!], tensor("base.loss"));
    expect(await greedy(base, facts.batch)).toEqual(facts.answers["base"]);
    await base.close();
  });

  test.each([Infinity, 0])(
    "full fine-tuning: the gradient of every weight, %s bytes kept",
    async (activationBytes) => {
      const { base, tensor, keys } = await open(name, { activationBytes });
      base.setTrainable(true);
      await base.backward(toBatch(facts.batch));
      const found = base.trainableParameters();
      expect(found.map((p) => `full.grad.${p.name}`).sort()).toEqual(keys("full.grad.").sort());
      for (const p of found)
        expectClose(p.name, p.grad!, tensor(`full.grad.${p.name}`), { absolute: 1e-5, relative: 1e-3 });
      expect(base.runner.pool.inUse).toBe(0);
      await base.close();
    },
  );

  test("rows longer than a tile of attention", async () => {
    const { base, tensor, keys } = await open(name);
    const { logits } = await base.forward(toBatch(facts.long));
    const width = 61;
    const tenth = Float32Array.from(
      Array.from({ length: 2 * 14 }, (_, i) => i).flatMap((i) => {
        const at = Math.floor(i / 14) * 140 + (i % 14) * 10;
        return [...logits.data.subarray(at * width, (at + 1) * width)];
      }),
    );
    expectClose("logits", realRows(facts.long, tenth, 10), realRows(facts.long, tensor("long.logits"), 10));
    base.setTrainable(true);
    await base.backward(toBatch(facts.long));
    for (const key of keys("long.grad.")) {
      const parameter = base.trainableParameters().find((p) => `long.grad.${p.name}` === key)!;
      expectClose(key, parameter.grad!, tensor(key), { absolute: 1e-5, relative: 1e-3 });
    }
    await base.close();
  });

  test.each([
    [
      "labels shifted",
      (rows: number[][]) => rows.map((row) => [0, ...row.slice(0, -1).map((id) => Math.max(id, 0))]),
    ],
  ])("decoderInputIds: %s give the same scores", async (_, shift) => {
    const { base, tensor } = await open(name);
    const { labels } = facts.batch;
    const batch = {
      ...toBatch(facts.batch),
      decoderInputIds: shift(labels),
      decoderAttentionMask: labels.map((row) =>
        row.map((_id, i) => Number(row.slice(i).some((id) => id >= 0))),
      ),
    };
    const { logits, loss } = await base.forward(batch);
    expectClose("logits", realRows(facts.batch, logits.data), realRows(facts.batch, tensor("base.logits")));
    expectClose("loss", [loss!], tensor("base.loss"));
    await base.close();
  });

  describe.each(facts.methods)("%s", (method) => {
    const folder = join(root, name, method);

    test.each([Infinity, 0])(
      "logits, gradients, five steps, merged, %s bytes kept",
      async (activationBytes) => {
        const { base, tensor, keys } = await open(name, { activationBytes });
        const model = await PeftModel.fromPretrained(base, folder, { isTrainable: true });
        const batch = toBatch(facts.batch);
        expectClose(
          "logits",
          await scores(base, facts.batch),
          realRows(facts.batch, tensor(`${method}.logits`)),
        );
        expect(await greedy(base, facts.batch)).toEqual(facts.answers[method]);
        const trained = model.trainableParameters();
        expect(trained.map((p) => `${method}.grad.${p.name}`).sort()).toEqual(keys(`${method}.grad.`).sort());
        await model.backward(batch);
        for (const { name: key, grad } of trained)
          expectClose(key, grad!, tensor(`${method}.grad.${key}`), { absolute: 1e-5, relative: 1e-3 });
        for (const parameter of trained) parameter.grad = undefined;
        const { learning_rate: learningRate, weight_decay: weightDecay } = facts;
        const optimizer = new AdamW(trained, { learningRate, weightDecay });
        const losses: number[] = [];
        for (let step = 0; step < 5; step += 1) {
          losses.push((await model.backward(batch)).loss);
          await optimizer.step();
          optimizer.zeroGrad();
        }
        expectClose("losses", losses, facts.losses[method]!);
        for (const { name: key, data } of trained) {
          // Where a gradient is noise, Adam makes a full step of its sign: only entries above noise are compared.
          const gradient = tensor(`${method}.grad.${key}`);
          const clear = (values: Float32Array) =>
            values.map((v, i) => (Math.abs(gradient[i]!) > 1e-4 ? v : 0));
          expectClose(`trained ${key}`, clear(data), clear(tensor(`${method}.trained.${key}`)), {
            absolute: 5e-4,
          });
        }
        expect(base.runner.pool.inUse).toBe(0);
        // Put where Python arrived, so that what is compared is the merge alone.
        for (const { name: key, data } of trained) data.set(tensor(`${method}.trained.${key}`));
        const before = await scores(base, facts.batch);
        const merged = await model.mergeAndUnload();
        // Python merges into a tied table, and so into all that is tied to it.
        const expected = method === "lora-tied" ? before : realRows(facts.batch, tensor(`${method}.merged`));
        expectClose("merged", await scores(merged, facts.batch), expected);
        const out = join(temporary, `${name}-${method}-${activationBytes}`);
        await merged.savePretrained(out);
        // Python refuses a whole number there.
        expect(readFileSync(join(out, "config.json"), "utf8")).toContain('"initializer_factor": 1.0,');
        const { base: again } = await open(name, { model: out });
        expectClose("opened again", await scores(again, facts.batch), expected);
        await again.close();
        await base.close();
      },
    );

    test("saves what Python saved", async () => {
      const { base } = await open(name);
      const model = await PeftModel.fromPretrained(base, folder);
      const out = join(temporary, `${name}-${method}-saved`);
      await model.savePretrained(out);
      const [ours, theirs] = await Promise.all(
        [out, folder].map((path) => openSafetensors(join(path, "adapter_model.safetensors"))),
      );
      // Python writes weights of the base beside adapters of embeddings and heads.
      const wanted = [...theirs!.tensors.keys()].filter(
        (key) => !/base_layer\.weight$|(embed_tokens|lm_head)\.weight$/.test(key),
      );
      expect([...ours!.tensors.keys()].sort()).toEqual(wanted.sort());
      for (const key of wanted) expect(ours!.read(key), key).toEqual(theirs!.read(key));
      const config = (path: string) => readJson<Record<string, unknown>>(join(path, "adapter_config.json"));
      const [a, b] = [config(out), config(folder)];
      for (const key of ["peft_type", "task_type"]) expect(a[key]).toEqual(b[key]);
      expect(new Set([a["target_modules"]].flat())).toEqual(new Set([b["target_modules"]].flat()));
      await base.close();
    });
  });
});

test("a head of its own is found in the file, whatever the config says of ties", async () => {
  const facts = factsOf("t5-v1_1");
  const folder = join(temporary, "resaved");
  cpSync(join(root, "t5-v1_1", "model"), folder, { recursive: true });
  const path = join(folder, "config.json");
  // As transformers 5 writes it.
  const config = { ...readJson<object>(path), tie_word_embeddings: true, scale_decoder_outputs: false };
  writeFileSync(path, JSON.stringify(config));
  const { base, tensor } = await open("t5-v1_1", { model: folder });
  expectClose("logits", await scores(base, facts.batch), realRows(facts.batch, tensor("base.logits")));
  await base.close();
});
