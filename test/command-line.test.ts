import { spawn, spawnSync } from "node:child_process";
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { AutoModelForCausalLM, PeftModel } from "../src/index.js";
import { expectClose } from "./support/close.js";
import { bin, commandLine } from "./support/command-line.js";
import { fixturesFolder } from "./support/fixture.js";
import { tinyTokenizerFiles } from "./support/tiny-tokenizer.js";

const { folder, at, peft } = commandLine("cli");

const write = (name: string, text: string): string => {
  writeFileSync(at(name), text);
  return at(name);
};

beforeAll(async () => {
  // A model with a tokenizer that fits its vocabulary of 259.
  mkdirSync(at("model"));
  const config = {
    ...(JSON.parse(readFileSync(join(fixturesFolder, "llama/model/config.json"), "utf8")) as object),
    vocab_size: 259,
  };
  const model = await AutoModelForCausalLM.fromConfig(config, { seed: 3 });
  await model.savePretrained(at("model"));
  await model.close();
  const files = tinyTokenizerFiles();
  writeFileSync(at("model/tokenizer.json"), JSON.stringify(files.tokenizer));
  writeFileSync(at("model/tokenizer_config.json"), JSON.stringify(files.config));
  const rows = Array.from({ length: 12 }, (_, i) =>
    JSON.stringify({ prompt: `q${i % 4}`, completion: `a${i % 4}` }),
  );
  write("data.jsonl", rows.join("\n"));
});
afterAll(() => rmSync(folder, { recursive: true }));

const small = ["--model", "model", "--dataset", "data.jsonl", "--max-length", "40", "--batch-size", "4"];

describe("what a run may be told besides", () => {
  const run = (out: string, ...rest: string[]) =>
    peft("train", ...small, "--max-steps", "3", "--learning-rate", "1e-2", "--output-dir", out, ...rest);

  test("activations in a file change nothing but where they are", () => {
    const kept = run("kept");
    const offloaded = run("offloaded", "--offload-activations", "scratch");
    expect(offloaded.code, offloaded.err).toBe(0);
    expect(readFileSync(at("offloaded/adapter_model.safetensors"))).toEqual(
      readFileSync(at("kept/adapter_model.safetensors")),
    );
    expect(kept.code, kept.err).toBe(0);
    expect(readdirSync(at("scratch"))).toEqual([]);
    expect(run("kept", "--offload-activations", "data.jsonl").err).toContain(
      "data.jsonl cannot be written: a file is in the way.",
    );
  });

  test("the layout of AdapterHub, and a method that it does not have", () => {
    const trained = run("hub", "--peft-type", "SEQ_BN", "--layout", "adapterhub");
    expect(trained.code, trained.err).toBe(0);
    expect(readdirSync(at("hub")).toSorted()).toEqual([
      "adapter.safetensors",
      "adapter_config.json",
      "loss.svg",
      "train.jsonl",
    ]);
    expect(peft("inspect", "hub").out).toContain("SEQ_BN");
    const refused = run("refused", "--peft-type", "VERA", "--layout", "adapterhub");
    expect(refused.code).toBe(2);
    expect(refused.err).toContain("(VERA) is not written for AdapterHub.");
    // It is said before the first step, not after the last.
    expect(refused.err).not.toMatch(/step/);
  });
});

describe("the way from data to a merged model", () => {
  test("train, inspect, generate, merge", async () => {
    const train = peft(
      "train",
      ...small,
      "--epochs",
      "4",
      "--learning-rate",
      "1e-2",
      "--val-set-size",
      "0.25",
      "--output-dir",
      "out",
      "--r",
      "4",
    );
    expect(train.err).not.toContain("bug");
    expect(train.code).toBe(0);
    expect(train.out).toMatch(/trainable params: 1,344 \|\| all params: \d+,\d+ \|\| trainable%: \d+\.\d{4}/);
    expect(train.out).toContain("data: 9 rows");
    expect(train.out).toContain("held out: 3 rows");
    expect(train.out).toContain(
      "verified: 29 of 29 base tensors bit-identical, 12 of 12 adapter tensors moved",
    );
    expect(readdirSync(at("out")).sort()).toEqual([
      "README.md",
      "adapter_config.json",
      "adapter_model.safetensors",
      "loss.svg",
      "train.jsonl",
    ]);
    const events = readFileSync(at("out/train.jsonl"), "utf8")
      .trim()
      .split("\n")
      .map((line) => (JSON.parse(line) as { type: string }).type);
    expect([events[0], events.at(-1)]).toEqual(["start", "end"]);
    expect(readFileSync(at("out/loss.svg"), "utf8")).toMatch(/^<svg [\s\S]*<polyline[\s\S]*<\/svg>\n$/);

    const inspect = peft("inspect", "out");
    expect(inspect.code).toBe(0);
    expect(inspect.out).toMatchSnapshot();
    expect(peft("inspect", "model").out).toMatchSnapshot();
    expect(peft("inspect", "data.jsonl", "--model", "model", "--rows", "1").out).toMatchSnapshot();

    const answer = peft("generate", "model", "q1", "--adapter", "out", "--max-new-tokens", "5");
    expect(answer.code).toBe(0);
    expect(answer.out).not.toBe(peft("generate", "model", "q1", "--max-new-tokens", "5").out);

    const merge = peft("merge", "model", "out", "--output-dir", "merged");
    expect(merge).toMatchObject({ code: 0, err: "" });
    const batch = { inputIds: [[5, 9, 77, 30]] };
    const base = await AutoModelForCausalLM.fromPretrained(at("model"));
    const adapted = await (await PeftModel.fromPretrained(base, at("out"))).forward(batch);
    const merged = await AutoModelForCausalLM.fromPretrained(at("merged"));
    expectClose("merged", (await merged.forward(batch)).logits.data, adapted.logits.data);
    await merged.close();
    await base.close();
    expect(peft("generate", "merged", "q1", "--max-new-tokens", "5").out).toBe(answer.out);
  });

  test("a run file, overridden by a flag, as a dry run", () => {
    const file = write(
      "run.yaml",
      "model_name_or_path: model\ndataset: data.jsonl\nnum_train_epochs: 2\nlora_r: 16\nlearning_rate: 1.0e-4\nmemory_limit: 800MiB\nlora_target_modules: [q_proj, v_proj]\n",
    );
    const { code, out } = peft("train", file, "--learning-rate", "3e-4", "--dry-run");
    expect(code).toBe(0);
    expect(out).toMatchSnapshot();
    expect(existsSync(at("out/never"))).toBe(false);
  });

  test("several prompts, a stop string and a system message", () => {
    const run = peft(
      "generate",
      "model",
      "a",
      "b",
      "--max-new-tokens",
      "3",
      "--system",
      "s",
      "--stop",
      "zzz",
    );
    expect(run.code).toBe(0);
    expect(run.out).toMatch(/^> a\n[\s\S]*\n> b\n/);
  });

  test("a profile says what the time went into", () => {
    const run = peft("train", ...small, "--max-steps", "2", "--output-dir", "profiled", "--profile");
    expect(run.code).toBe(0);
    for (const part of [
      "layers.*.attention_out_mlp backward",
      "optimizer",
      "outside the runtime",
      "FusedMatMul",
    ])
      expect(run.out).toContain(part);
    const trace = JSON.parse(readFileSync(at("profiled/profile.json"), "utf8")) as {
      traceEvents: { name: string }[];
    };
    expect(trace.traceEvents.some(({ name }) => name === "loss")).toBe(true);
  });

  test("Ctrl-C ends the run after the step and saves", async () => {
    const child = spawn("node", [bin, "train", ...small, "--epochs", "100000", "--output-dir", "stopped"], {
      cwd: folder,
    });
    let [out, err] = ["", ""];
    child.stdout.on("data", (data: Buffer) => (out += data.toString()));
    child.stderr.on("data", (data: Buffer) => {
      err += data.toString();
      if (err.includes("1/")) child.kill("SIGINT");
    });
    const code = await new Promise((resolve) => child.on("close", resolve));
    expect(out).toContain("stopped by Ctrl-C");
    expect(code).toBe(0);
    expect(existsSync(at("stopped/adapter_model.safetensors"))).toBe(true);
  });
});

describe("help", () => {
  test("without a command, and for one", () => {
    expect(peft()).toMatchObject({ code: 0 });
    expect(peft("--help").out).toContain("train [options] [run.yaml]");
    expect(peft("generate", "--help").out).toContain("--repetition-penalty <number>");
    expect(peft("--version").out).toBe("0.1.0\n");
  });
});

describe("mistakes get one clear text, exit code 2, no stack, and nothing half-written", () => {
  const fails = (name: string, args: () => string[]): void => {
    test(name, () => {
      const { code, out, err } = peft(...args());
      expect(err).not.toMatch(/\n\s+at /);
      expect(code, err).toBe(2);
      expect(out).toBe("");
      expect(err).toMatchSnapshot();
      if (existsSync(at("none"))) expect(readdirSync(at("none"))).toEqual([]);
    });
  };
  const copy = (name: string, change: (path: string) => void): string => {
    cpSync(at("model"), at(name), { recursive: true });
    change(at(name));
    return name;
  };
  const train = (...args: string[]): string[] => ["train", ...small, "--output-dir", "none", ...args];
  const withModel = (model: string): string[] => [
    "train",
    "--model",
    model,
    "--dataset",
    "data.jsonl",
    "--output-dir",
    "none",
  ];
  const withData = (text: string, name = "rows.jsonl"): string[] => [
    "train",
    "--model",
    "model",
    "--dataset",
    write(name, text),
    "--output-dir",
    "none",
  ];

  fails("an unknown command", () => ["trian"]);
  fails("an unknown flag", () => train("--lora-alhpa", "3"));
  fails("a flag without its value", () => ["train", "--model"]);
  fails("nothing to train on", () => ["train"]);
  fails("a model that is not there", () => withModel("./nowhere"));
  fails("a model whose file is cut off", () =>
    withModel(copy("cut", (path) => truncateSync(join(path, "model.safetensors"), 5000))),
  );
  fails("a model without its config", () =>
    withModel(copy("bare", (path) => rmSync(join(path, "config.json")))),
  );
  fails("an unknown model type", () =>
    withModel(copy("strange", (path) => writeFileSync(join(path, "config.json"), '{"model_type": "lama"}'))),
  );
  fails("a config that does not fit the weights", () =>
    withModel(
      copy("wide", (path) => {
        const config = JSON.parse(readFileSync(join(path, "config.json"), "utf8")) as object;
        writeFileSync(
          join(path, "config.json"),
          JSON.stringify({ ...config, intermediate_size: 64, num_hidden_layers: 4 }),
        );
      }),
    ),
  );
  fails("a config with values that make no model", () =>
    withModel(
      copy("odd", (path) => {
        const config = JSON.parse(readFileSync(join(path, "config.json"), "utf8")) as object;
        writeFileSync(
          join(path, "config.json"),
          JSON.stringify({ ...config, hidden_size: -4, num_key_value_heads: 3, hidden_act: "gelu" }),
        );
      }),
    ),
  );
  fails("a target that matches nothing", () => train("--target-modules", "q_porj,v_proj"));
  fails("a target that cannot be adapted", () => train("--target-modules", "input_layernorm,q_proj"));
  fails("a rank of 0", () => train("--r", "0"));
  fails("a negative rank", () => train("--r=-2"));
  fails("a fractional rank and other values out of bounds", () =>
    train("--r", "1.5", "--lora-dropout", "1", "--batch-size", "many"),
  );
  fails("a key of the run file that does not exist", () => [
    "train",
    write("bad.yaml", "model: model\nlerning_rate: 1\nlr: 2\n\nlora_alpha: -1\n"),
  ]);
  fails("a run file that is not YAML", () => ["train", write("syntax.yaml", "model: [a\nb: c")]);
  fails("a line that is not JSON", () => withData('{"prompt":"a","completion":"b"}\n{"prompt": oops\n'));
  fails("rows of an unknown shape", () => withData('{"question":"a","anser":"b"}\n'));
  fails("rows without text", () => withData('{"prompt":"a","completion":""}\n{"text":" "}\n'));
  fails("answers that are all cut off", () => [
    ...withData(`{"prompt":"${"x".repeat(100)}","completion":"b"}`),
    "--max-length",
    "20",
  ]);
  fails("a prompt longer than the context", () => ["generate", "model", "x".repeat(100)]);
  fails("an adapter that is not there", () => ["generate", "model", "hi", "--adapter", "data.jsonl"]);
  fails("an adapter for another base", () => [
    "generate",
    "model",
    "hi",
    "--adapter",
    join(fixturesFolder, "qwen3/adapter"),
  ]);
  fails("an adapter of a method that is not known", () => {
    mkdirSync(at("foreign"));
    writeFileSync(at("foreign/adapter_model.safetensors"), readFileSync(at("out/adapter_model.safetensors")));
    const config = JSON.parse(readFileSync(at("out/adapter_config.json"), "utf8")) as object;
    writeFileSync(at("foreign/adapter_config.json"), JSON.stringify({ ...config, peft_type: "XLORA" }));
    return ["generate", "model", "hi", "--adapter", "foreign"];
  });
  fails("an adapter that asks for a feature that is not known", () => {
    const config = JSON.parse(readFileSync(at("out/adapter_config.json"), "utf8")) as object;
    writeFileSync(
      at("foreign/adapter_config.json"),
      JSON.stringify({ ...config, use_qalora: true, modules_to_save: [] }),
    );
    return ["generate", "model", "hi", "--adapter", "foreign"];
  });
  fails("a folder where a file is in the way", () => train("--output-dir", write("blocked", "")));
});

test("a folder that may not be written to", () => {
  if (process.getuid?.() === 0) return; // permissions do not bind root
  mkdirSync(at("locked"));
  chmodSync(at("locked"), 0o500);
  expect(peft("train", ...small, "--output-dir", "locked/out")).toMatchObject({ code: 2 });
});

test("a rank larger than the layer is a warning", () => {
  const { code, err } = peft("train", ...small, "--max-steps", "1", "--r", "64", "--output-dir", "large");
  expect(code).toBe(0);
  expect(err).toContain("warning: r: 64 is larger than the smaller side of 6 of the target modules");
});

test("a loss that is not finite keeps the last good adapter and ends with 1", () => {
  const { code, err } = peft(
    "train",
    ...small,
    "--epochs",
    "50",
    "--learning-rate",
    "1e39",
    "--max-grad-norm",
    "0",
    "--output-dir",
    "wild",
  );
  expect(code).toBe(1);
  expect(err).toContain("Training stopped");
  expect(existsSync(at("wild/adapter_model.safetensors"))).toBe(true);
});

test("lines that come while an answer is written are asked one after another", () => {
  const args = [bin, "generate", "model", "--max-new-tokens", "3"];
  const chat = (input: string) => spawnSync("node", args, { encoding: "utf8", cwd: folder, input });
  const [one, both] = [chat("q1\n"), chat("q1\nq2\n")];
  expect(both.status).toBe(0);
  expect(both.stderr.split("> ")).toHaveLength(4);
  expect(both.stdout.startsWith(one.stdout)).toBe(true);
  expect(both.stdout.length).toBeGreaterThan(one.stdout.length);
  // An empty line ends it.
  expect(chat("q1\n\nq2\n").stdout).toBe(one.stdout);
});

test("a reader of the output that goes away, as head does, is no error", async () => {
  const child = spawn("node", [bin, "methods", "LORA"], { stdio: ["ignore", "pipe", "pipe"] });
  child.stdout.destroy();
  let text = "";
  child.stderr.on("data", (data: Buffer) => (text += data.toString()));
  const code = await new Promise((resolve) => child.on("close", resolve));
  expect([code, text]).toEqual([0, ""]);
});
