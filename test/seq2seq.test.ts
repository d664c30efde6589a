import { cpSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  AutoModel,
  AutoModelForCausalLM,
  AutoModelForSeq2SeqLM,
  generate,
  getPeftModel,
} from "../src/index.js";
import { commandLine } from "./support/command-line.js";
import { fixturesFolder } from "./support/fixture.js";

const { folder, at, clean, peft, line } = commandLine("seq2seq");

/** The message of a call that must fail. */
const messageOf = (work: Promise<unknown>): Promise<string> =>
  work.then(
    () => "nothing was thrown",
    (error: unknown) => clean((error as Error).message),
  );

beforeAll(() => {
  const fixtures = join(fixturesFolder, "seq2seq");
  cpSync(join(fixtures, "t5", "model"), at("t5"), { recursive: true });
  cpSync(join(fixtures, "tokenizer"), at("t5"), { recursive: true });
  for (const file of ["config.json", "generation_config.json"]) {
    const values = JSON.parse(readFileSync(at("t5", file), "utf8")) as Record<string, unknown>;
    writeFileSync(at("t5", file), JSON.stringify({ ...values, eos_token_id: 1 }));
  }
  const words = ["cat", "dog", "the cat", "the dog", "a cat", "a dog"];
  const rows = words.map((word) => `${JSON.stringify({ source: `say: ${word}`, target: word })}\n`);
  writeFileSync(at("train.jsonl"), rows.join(""));
});
afterAll(() => rmSync(folder, { recursive: true }));

test("train, generate, merge and inspect", () => {
  const trained = line(
    "train --task seq2seq-lm --model t5 --dataset train.jsonl --eval-dataset train.jsonl --output-dir out" +
      " --learning-rate 2e-2 --epochs 20 --r 16 --target-modules all-linear",
  );
  expect(trained.code, trained.err).toBe(0);
  expect(trained.out).toContain("data: 6 rows, 56 tokens, 16 of them learnt");
  expect(trained.out).toContain(
    "verified: 55 of 55 base tensors bit-identical, 76 of 76 adapter tensors moved",
  );
  expect(trained.out).toContain("(use it: peft generate t5 --adapter out)");
  const events = readFileSync(at("out/train.jsonl"), "utf8").trim().split("\n");
  const { metrics } = JSON.parse(events.at(-2)!) as { metrics: Record<string, number> };
  expect(Object.keys(metrics)).toEqual(["perplexity", "exactMatch", "accuracy"]);
  expect(metrics["accuracy"]).toBeGreaterThan(0.7);
  const config = JSON.parse(readFileSync(at("out/adapter_config.json"), "utf8")) as Record<string, unknown>;
  expect(config["task_type"]).toBe("SEQ_2_SEQ_LM");

  const answers = peft("generate", "t5", "say: the dog", "say: cat", "--adapter", "out");
  expect(answers.out).toContain("> say: cat\ncat\n");
  const merged = line("merge t5 out --output-dir merged");
  expect(merged.out).toContain("(use it: peft generate merged)");
  expect(peft("generate", "merged", "say: the dog", "say: cat").out).toBe(answers.out);

  expect(line("inspect t5").out).toContain("context         no limit");
  expect(line("inspect train.jsonl --model t5").out).toContain("say: the cat</s>[[the cat</s>]]");
  expect(line("inspect out").out).toContain("method             LORA");
});

test("virtual tokens: train and generate", () => {
  const trained = line(
    "train --task seq2seq-lm --peft-type PROMPT_TUNING --num-virtual-tokens 6 --prompt-tuning-init TEXT" +
      " --model t5 --dataset train.jsonl --output-dir prompts --learning-rate 0.1 --epochs 8" +
      " --prompt-tuning-init-text say:",
  );
  expect(trained.code, trained.err).toBe(0);
  expect(trained.out).toContain(
    "verified: 55 of 55 base tensors bit-identical, 1 of 1 adapter tensors moved",
  );
  const answers = peft("generate", "t5", "say: the dog", "say: cat", "--adapter", "prompts");
  expect(answers.code, answers.err).toBe(0);
  expect(line("inspect prompts").out).toContain("PROMPT_TUNING");
});

test("mistakes on the command line", () => {
  const mistake = (text: string): string => {
    const { code, err } = line(text);
    expect(code, err).toBe(2);
    return err;
  };
  expect(mistake("train --model t5 --dataset train.jsonl --output-dir none")).toMatchInlineSnapshot(`
    "T5 has no head for CAUSAL_LM.
      heads  SEQ_2_SEQ_LM
    fix: choose one of its heads, such as AutoModelForSeq2SeqLM   (--task seq2seq-lm)
    "
  `);
  expect(mistake("train --task seq2seq-lm --model embedded --dataset train.jsonl --output-dir none"))
    .toMatchInlineSnapshot(`
    "Llama has no head for SEQ_2_SEQ_LM.
      heads  CAUSAL_LM, SEQ_CLS, TOKEN_CLS, QUESTION_ANS, FEATURE_EXTRACTION
    fix: choose one of its heads, such as AutoModelForCausalLM   (--task causal-lm)
    "
  `);
  expect(mistake("train --task seq2seq-lm --loss-on all --model t5 --dataset train.jsonl --output-dir none"))
    .toMatchInlineSnapshot(`
    "lossOn all has no effect with the task seq2seq-lm: an encoder reads the source, and nothing predicts it.
    fix: leave lossOn out: the answers are learnt
    "
  `);
  expect(
    mistake(
      "train --task seq2seq-lm --peft-type PREFIX_TUNING --num-transformer-submodules 1 --model t5 --dataset train.jsonl" +
        " --output-dir none",
    ),
  ).toMatchInlineSnapshot(`
    "The virtual tokens are made for a model of other sizes.
      numTransformerSubmodules (num_transformer_submodules)  1; the model has 2
    fix: leave these options out: they are taken from the model
     or: use the model the adapter was made for
    "
  `);
  expect(mistake("predict t5 word")).toMatchInlineSnapshot(`
    "t5 is made for SEQ_2_SEQ_LM, which predicts no labels.
    fix: peft generate t5 "a prompt"
    "
  `);
});

describe("from TypeScript", () => {
  test("classes of other tasks say which one opens the model", async () => {
    expect(await messageOf(AutoModelForCausalLM.fromPretrained(at("t5")))).toMatchInlineSnapshot(`
      "T5 has no head for CAUSAL_LM.
        heads  SEQ_2_SEQ_LM
      fix: choose one of its heads, such as AutoModelForSeq2SeqLM   (--task seq2seq-lm)"
    `);
    expect(await messageOf(AutoModel.fromPretrained(at("t5")))).toMatchInlineSnapshot(`
      "T5 has no head for FEATURE_EXTRACTION.
        heads  SEQ_2_SEQ_LM
      fix: choose one of its heads, such as AutoModelForSeq2SeqLM   (--task seq2seq-lm)"
    `);
    const llama = join(fixturesFolder, "llama", "model");
    expect(await messageOf(AutoModelForSeq2SeqLM.fromPretrained(llama))).toMatchInlineSnapshot(`
      "Llama has no head for SEQ_2_SEQ_LM.
        heads  CAUSAL_LM, SEQ_CLS, TOKEN_CLS, QUESTION_ANS, FEATURE_EXTRACTION
      fix: choose one of its heads, such as AutoModelForCausalLM   (--task causal-lm)"
    `);
  });

  test("a config that no T5 can be built from, with every fault", async () => {
    const config = {
      model_type: "t5",
      d_model: 0,
      feed_forward_proj: "gated-relu6",
      relative_attention_num_buckets: 7,
      relative_attention_max_distance: 3,
    };
    expect(await messageOf(AutoModelForSeq2SeqLM.fromConfig(config))).toMatchInlineSnapshot(`
      "new model has 4 values that this model cannot be built from.
        fault  d_model is 0; a positive whole number was expected
        fault  feed_forward_proj is "gated-relu6"; "gelu" or "gated-gelu" or "gelu_new" or "gated-gelu_new" or "gelu_pytorch_tanh" or "gated-gelu_pytorch_tanh" or "gelu_fast" or "gated-gelu_fast" or "relu" or "gated-relu" or "silu" or "gated-silu" or "swish" or "gated-swish" or "tanh" or "gated-tanh" was expected
        fault  relative_attention_num_buckets 7 is not an even number from 4 on
        fault  relative_attention_max_distance 3 is not more than half of relative_attention_num_buckets 7"
    `);
  });

  test("one seed gives one sampled answer; without sampling the seed is of no account", async () => {
    const model = await AutoModelForSeq2SeqLM.fromPretrained(at("t5"));
    const ask = async (options: object): Promise<string> =>
      (
        await generate(
          model,
          [
            [5, 6, 1],
            [7, 1],
          ],
          { maxNewTokens: 12, ...options },
        )
      )
        .map(({ tokens }) => tokens.join())
        .join(";");
    const warm = { temperature: 3 };
    expect(await ask({ ...warm, seed: 4 })).toBe(await ask({ ...warm, seed: 4 }));
    expect(await ask({ ...warm, seed: 4 })).not.toBe(await ask({ ...warm, seed: 5 }));
    expect(await ask({ seed: 4 })).toBe(await ask({ seed: 5 }));
    await model.close();
  });

  test("dropout masks encoder and decoder, and a seed gives the same ones again", async () => {
    const base = await AutoModelForSeq2SeqLM.fromPretrained(at("t5"), { activationBytes: 0 });
    const model = await getPeftModel(base, { peftType: "LORA", initLoraWeights: false, loraDropout: 0.3 });
    const batch = { inputIds: [[5, 6, 7, 1]], labels: [[8, 9, 1]] };
    const gradients = async (seed: number): Promise<string> => {
      for (const parameter of model.trainableParameters()) parameter.grad = undefined;
      await model.backward(batch, { seed });
      return model
        .trainableParameters()
        .map(({ grad }) => grad!.join())
        .join(";");
    };
    expect(await gradients(1)).toBe(await gradients(1));
    expect(await gradients(1)).not.toBe(await gradients(2));
    await base.close();
  });

  test("default targets of version 1.1, whose layers have a gate", async () => {
    const base = await AutoModelForSeq2SeqLM.fromPretrained(
      join(fixturesFolder, "seq2seq", "t5-v1_1", "model"),
    );
    const model = await getPeftModel(base, { peftType: "ADALORA" });
    const names = model.adapter().places.map(({ path }) => path.split(".").at(-1));
    // As in Hugging Face, whose table names the layer without a gate.
    expect([...new Set(names)].sort()).toEqual(["k", "o", "q", "v", "wo"]);
    await base.close();
  });
});
