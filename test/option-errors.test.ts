import { readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import type { Option, Options } from "../src/base/option.js";
import { optionFaults } from "../src/base/read-options.js";
import { commands } from "../src/commands/index.js";
import type { CommandDefinition } from "../src/commands/command.js";
import { methods } from "../src/methods/index.js";
import { badValues } from "../src/testing/check-options.js";

const SRC = resolve(import.meta.dirname, "../src");
const DECLARATION = /^export const (\w*[oO]ptions)\b/gm;

/** Options of methods have src/methods/option-errors.test.ts to themselves. */
const configs = Object.values(methods).map(({ config }): Options => config);
const ofMethods = new Set(configs.flatMap((config) => Object.values(config)));
const methodNames = new Set(configs.flatMap((config) => Object.keys(config)));

const isOptions = (value: unknown): value is Options =>
  typeof value === "object" &&
  value !== null &&
  Object.values(value).every((one) => typeof one === "object" && one !== null && "schema" in one);

/** Options of a record that are no method's; where flags are made of all of them they go by their names. */
const withoutMethods = (record: string, options: Options): Options =>
  Object.fromEntries(
    Object.entries(options).filter(
      ([key, option]) =>
        !ofMethods.has(option) &&
        !((record.startsWith("peft ") || record.startsWith("all")) && methodNames.has(key)),
    ),
  );

/** All records of options: those that a file of src declares, and those of commands. */
const records = new Map<string, Options>();
const shown = new Set<Option<unknown>>();

beforeAll(async () => {
  const files = readdirSync(SRC, { recursive: true, encoding: "utf8" }).filter((file) =>
    /(?<!\.test)\.ts$/.test(file),
  );
  for (const file of files) {
    for (const [, name] of readFileSync(join(SRC, file), "utf8").matchAll(DECLARATION)) {
      const module = (await import(join(SRC, file))) as Readonly<Record<string, unknown>>;
      const value = module[name!];
      if (isOptions(value)) records.set(name!, withoutMethods(name!, value));
    }
  }
  for (const { name, options } of Object.values<CommandDefinition>(commands))
    records.set(`peft ${name}`, withoutMethods(`peft ${name}`, options));
});

/** What every option of a record says to bad values: option, value, what was expected, cure. Options that were shown before are left out. */
function refusals(name: string): string {
  const spelling = name.startsWith("peft ") ? "kebab-case" : "camelCase";
  const fresh = Object.entries(records.get(name)!).filter(([, option]) => !shown.has(option));
  return fresh
    .flatMap(([key, option]) => {
      shown.add(option);
      const values = badValues(option).map(({ value }) => value);
      if (values.length === 0) return [`${key}  has no bad value`];
      return values.map((value) => {
        const [fault] = optionFaults({ [key]: option }, { [key]: value }, spelling);
        return fault === undefined
          ? `${key}  takes ${JSON.stringify(value)}`
          : `${key}  ${fault.text}  fix: ${fault.cure}`;
      });
    })
    .join("\n");
}

describe("a bad value of an option that is no method's: the option, the value, what was expected, a cure", () => {
  test("encodingOptions", () => {
    expect(refusals("encodingOptions")).toMatchInlineSnapshot(`
      "maxLength  1 is too small; at least 2 was expected  fix: maxLength: 1024
      maxLength  1.5 is not a whole number; 2 or more was expected  fix: maxLength: 1024
      maxLength  "many" is not a whole number; 2 or more was expected  fix: maxLength: 1024
      lossOn  "no such word" is not one of completion, all  fix: lossOn: "completion"
      lossOn  7 is not one of completion, all  fix: lossOn: "completion""
    `);
  });

  test("samplingOptions", () => {
    expect(refusals("samplingOptions")).toMatchInlineSnapshot(`
      "temperature  -0.001 is too small; at least 0 was expected  fix: temperature: 0
      temperature  "many" is not a number; 0 or more was expected  fix: temperature: 0
      topK  -1 is too small; at least 0 was expected  fix: topK: 0
      topK  1.5 is not a whole number; 0 or more was expected  fix: topK: 0
      topK  "many" is not a whole number; 0 or more was expected  fix: topK: 0
      topP  1.001 is too large; at most 1 was expected  fix: topP: 1
      topP  0 is too small; above 0 was expected  fix: topP: 1
      topP  "many" is not a number; above 0 to 1 was expected  fix: topP: 1
      repetitionPenalty  0 is too small; above 0 was expected  fix: repetitionPenalty: 1
      repetitionPenalty  "many" is not a number; above 0 was expected  fix: repetitionPenalty: 1"
    `);
  });

  test("generationOptions", () => {
    expect(refusals("generationOptions")).toMatchInlineSnapshot(`
      "maxNewTokens  0 is too small; at least 1 was expected  fix: maxNewTokens: 256
      maxNewTokens  1.5 is not a whole number; 1 or more was expected  fix: maxNewTokens: 256
      maxNewTokens  "many" is not a whole number; 1 or more was expected  fix: maxNewTokens: 256
      seed  -1 is too small; at least 0 was expected  fix: seed: 0
      seed  1.5 is not a whole number; 0 or more was expected  fix: seed: 0
      seed  "many" is not a whole number; 0 or more was expected  fix: seed: 0"
    `);
  });

  test("quantisationOptions", () => {
    expect(refusals("quantisationOptions")).toMatchInlineSnapshot(`
      "loadIn4bit  "no such word" is not true or false  fix: loadIn4bit: false
      loadIn4bit  7 is not true or false  fix: loadIn4bit: false
      bnb4bitQuantType  "no such word" is not one of nf4, fp4  fix: bnb4bitQuantType: "nf4"
      bnb4bitQuantType  7 is not one of nf4, fp4  fix: bnb4bitQuantType: "nf4"
      bnb4bitUseDoubleQuant  "no such word" is not true or false  fix: bnb4bitUseDoubleQuant: false
      bnb4bitUseDoubleQuant  7 is not true or false  fix: bnb4bitUseDoubleQuant: false"
    `);
  });

  test("clozeOptions", () => {
    expect(refusals("clozeOptions")).toMatchInlineSnapshot(`
      "template  7 is not a text  fix: leave template out
      template  [-1] is not a text  fix: leave template out
      template  {"bad":0} is not a text  fix: leave template out
      verbalizer  7 is not a word or a list of words for each class  fix: verbalizer: { great: "great", other: ["terrible", "bad"] }
      verbalizer  [-1] is not a word or a list of words for each class  fix: verbalizer: { great: "great", other: ["terrible", "bad"] }
      verbalizer  {"bad":0} (at bad) is not a word or a list of words for each class  fix: verbalizer: { great: "great", other: ["terrible", "bad"] }
      combineWords  "no such word" is not one of mean, sum  fix: combineWords: "mean"
      combineWords  7 is not one of mean, sum  fix: combineWords: "mean"
      lengthNormalization  "no such word" is not true or false  fix: lengthNormalization: false
      lengthNormalization  7 is not true or false  fix: lengthNormalization: false"
    `);
  });

  test("adamWOptions", () => {
    expect(refusals("adamWOptions")).toMatchInlineSnapshot(`
      "learningRate  -0.001 is too small; at least 0 was expected  fix: learningRate: 0.0002
      learningRate  "many" is not a number; 0 or more was expected  fix: learningRate: 0.0002
      beta1  -0.001 is too small; at least 0 was expected  fix: beta1: 0.9
      beta1  1 is too large; below 1 was expected  fix: beta1: 0.9
      beta1  "many" is not a number; 0 to below 1 was expected  fix: beta1: 0.9
      beta2  -0.001 is too small; at least 0 was expected  fix: beta2: 0.999
      beta2  1 is too large; below 1 was expected  fix: beta2: 0.999
      beta2  "many" is not a number; 0 to below 1 was expected  fix: beta2: 0.999
      epsilon  0 is too small; above 0 was expected  fix: epsilon: 1e-8
      epsilon  "many" is not a number; above 0 was expected  fix: epsilon: 1e-8
      weightDecay  -0.001 is too small; at least 0 was expected  fix: weightDecay: 0
      weightDecay  "many" is not a number; 0 or more was expected  fix: weightDecay: 0
      amsgrad  "no such word" is not true or false  fix: amsgrad: false
      amsgrad  7 is not true or false  fix: amsgrad: false"
    `);
  });

  test("adamW8bitOptions", () => {
    expect(refusals("adamW8bitOptions")).toMatchInlineSnapshot(`
      "min8bitSize  -1 is too small; at least 0 was expected  fix: min8bitSize: 4096
      min8bitSize  1.5 is not a whole number; 0 or more was expected  fix: min8bitSize: 4096
      min8bitSize  "many" is not a whole number; 0 or more was expected  fix: min8bitSize: 4096"
    `);
  });

  test("trainOptions", () => {
    expect(refusals("trainOptions")).toMatchInlineSnapshot(`
      "epochs  0 is too small; above 0 was expected  fix: epochs: 3
      epochs  "many" is not a number; above 0 was expected  fix: epochs: 3
      maxSteps  0 is too small; at least 1 was expected  fix: leave maxSteps out
      maxSteps  1.5 is not a whole number; 1 or more was expected  fix: leave maxSteps out
      maxSteps  "many" is not a whole number; 1 or more was expected  fix: leave maxSteps out
      batchSize  0 is too small; at least 1 was expected  fix: batchSize: 4
      batchSize  1.5 is not a whole number; 1 or more was expected  fix: batchSize: 4
      batchSize  "many" is not a whole number; 1 or more was expected  fix: batchSize: 4
      gradientAccumulation  0 is too small; at least 1 was expected  fix: gradientAccumulation: 1
      gradientAccumulation  1.5 is not a whole number; 1 or more was expected  fix: gradientAccumulation: 1
      gradientAccumulation  "many" is not a whole number; 1 or more was expected  fix: gradientAccumulation: 1
      optim  "no such word" is not one of adamw, adamw_torch, adamw_8bit, adamw_bnb_8bit  fix: optim: "adamw"
      optim  7 is not one of adamw, adamw_torch, adamw_8bit, adamw_bnb_8bit  fix: optim: "adamw"
      learningRate  -0.001 is too small; at least 0 was expected  fix: learningRate: 0.0002
      learningRate  "many" is not a number; 0 or more was expected  fix: learningRate: 0.0002
      lrSchedulerType  "no such word" is not one of linear, cosine, constant, constant_with_warmup  fix: lrSchedulerType: "linear"
      lrSchedulerType  7 is not one of linear, cosine, constant, constant_with_warmup  fix: lrSchedulerType: "linear"
      warmupSteps  -1 is too small; at least 0 was expected  fix: warmupSteps: 0
      warmupSteps  1.5 is not a whole number; 0 or more was expected  fix: warmupSteps: 0
      warmupSteps  "many" is not a whole number; 0 or more was expected  fix: warmupSteps: 0
      warmupRatio  -0.001 is too small; at least 0 was expected  fix: warmupRatio: 0
      warmupRatio  1.001 is too large; at most 1 was expected  fix: warmupRatio: 0
      warmupRatio  "many" is not a number; 0 to 1 was expected  fix: warmupRatio: 0
      weightDecay  -0.001 is too small; at least 0 was expected  fix: weightDecay: 0
      weightDecay  "many" is not a number; 0 or more was expected  fix: weightDecay: 0
      adamBeta1  -0.001 is too small; at least 0 was expected  fix: adamBeta1: 0.9
      adamBeta1  1 is too large; below 1 was expected  fix: adamBeta1: 0.9
      adamBeta1  "many" is not a number; 0 to below 1 was expected  fix: adamBeta1: 0.9
      adamBeta2  -0.001 is too small; at least 0 was expected  fix: adamBeta2: 0.999
      adamBeta2  1 is too large; below 1 was expected  fix: adamBeta2: 0.999
      adamBeta2  "many" is not a number; 0 to below 1 was expected  fix: adamBeta2: 0.999
      adamEpsilon  0 is too small; above 0 was expected  fix: adamEpsilon: 1e-8
      adamEpsilon  "many" is not a number; above 0 was expected  fix: adamEpsilon: 1e-8
      maxGradNorm  -0.001 is too small; at least 0 was expected  fix: maxGradNorm: 1
      maxGradNorm  "many" is not a number; 0 or more was expected  fix: maxGradNorm: 1
      shuffle  "no such word" is not true or false  fix: shuffle: true
      shuffle  7 is not true or false  fix: shuffle: true
      groupByLength  "no such word" is not true or false  fix: groupByLength: false
      groupByLength  7 is not true or false  fix: groupByLength: false
      packing  "no such word" is not true or false  fix: packing: false
      packing  7 is not true or false  fix: packing: false
      seed  -1 is too small; at least 0 was expected  fix: seed: 0
      seed  1.5 is not a whole number; 0 or more was expected  fix: seed: 0
      seed  "many" is not a whole number; 0 or more was expected  fix: seed: 0
      evalSteps  -1 is too small; at least 0 was expected  fix: evalSteps: 0
      evalSteps  1.5 is not a whole number; 0 or more was expected  fix: evalSteps: 0
      evalSteps  "many" is not a whole number; 0 or more was expected  fix: evalSteps: 0
      evalBatchSize  0 is too small; at least 1 was expected  fix: evalBatchSize: 8
      evalBatchSize  1.5 is not a whole number; 1 or more was expected  fix: evalBatchSize: 8
      evalBatchSize  "many" is not a whole number; 1 or more was expected  fix: evalBatchSize: 8"
    `);
  });

  test("runOptions", () => {
    expect(refusals("runOptions")).toMatchInlineSnapshot(`
      "model  7 is not a text  fix: model: "embedded"
      model  [-1] is not a text  fix: model: "embedded"
      model  {"bad":0} is not a text  fix: model: "embedded"
      dataset  7 is not a text  fix: dataset: "train.jsonl"
      dataset  [-1] is not a text  fix: dataset: "train.jsonl"
      dataset  {"bad":0} is not a text  fix: dataset: "train.jsonl"
      evalDataset  7 is not a text  fix: leave evalDataset out
      evalDataset  [-1] is not a text  fix: leave evalDataset out
      evalDataset  {"bad":0} is not a text  fix: leave evalDataset out
      valSetSize  -0.001 is too small; at least 0 was expected  fix: valSetSize: 0
      valSetSize  1 is too large; below 1 was expected  fix: valSetSize: 0
      valSetSize  "many" is not a number; 0 to below 1 was expected  fix: valSetSize: 0
      outputDir  7 is not a text  fix: outputDir: "out"
      outputDir  [-1] is not a text  fix: outputDir: "out"
      outputDir  {"bad":0} is not a text  fix: outputDir: "out"
      task  "no such word" is not one of causal-lm, seq2seq-lm, seq-cls, token-cls, question-ans, cloze  fix: task: "causal-lm"
      task  7 is not one of causal-lm, seq2seq-lm, seq-cls, token-cls, question-ans, cloze  fix: task: "causal-lm"
      peftType  "no such word" is not one of LORA, ADALORA, LOHA, LOKR, VERA, IA3, OFT, BOFT, HRA, FOURIERFT, SHIRA, LN_TUNING, BITFIT, TRAINABLE_TOKENS, SEQ_BN, DOUBLE_SEQ_BN, PAR_BN, SCALED_PAR_BN, COMPACTER, COMPACTER_PLUS_PLUS, PROMPT_TUNING, PREFIX_TUNING, P_TUNING, MULTITASK_PROMPT_TUNING  fix: peftType: "LORA"
      peftType  7 is not one of LORA, ADALORA, LOHA, LOKR, VERA, IA3, OFT, BOFT, HRA, FOURIERFT, SHIRA, LN_TUNING, BITFIT, TRAINABLE_TOKENS, SEQ_BN, DOUBLE_SEQ_BN, PAR_BN, SCALED_PAR_BN, COMPACTER, COMPACTER_PLUS_PLUS, PROMPT_TUNING, PREFIX_TUNING, P_TUNING, MULTITASK_PROMPT_TUNING  fix: peftType: "LORA"
      dtype  "no such word" is not one of auto, float32, float16, bfloat16  fix: dtype: "auto"
      dtype  7 is not one of auto, float32, float16, bfloat16  fix: dtype: "auto"
      arithmetic  "no such word" is not one of float32, int8  fix: arithmetic: "float32"
      arithmetic  7 is not one of float32, int8  fix: arithmetic: "float32"
      columns  7 is not a set of columns by what they hold  fix: columns: { text: "review", label: "score" }
      columns  [-1] is not a set of columns by what they hold  fix: columns: { text: "review", label: "score" }
      columns  {"bad":0} (at bad) is not a set of columns by what they hold  fix: columns: { text: "review", label: "score" }
      activationMemory  0 is too small; above 0 was expected  fix: activationMemory: "800MiB"
      activationMemory  "many" is not a size such as 800MiB  fix: activationMemory: "800MiB"
      offloadActivations  7 is not a text  fix: leave offloadActivations out
      offloadActivations  [-1] is not a text  fix: leave offloadActivations out
      offloadActivations  {"bad":0} is not a text  fix: leave offloadActivations out
      memoryLimit  0 is too small; above 0 was expected  fix: memoryLimit: "800MiB"
      memoryLimit  "many" is not a size such as 800MiB  fix: memoryLimit: "800MiB"
      calibrationBatches  0 is too small; at least 1 was expected  fix: calibrationBatches: 64
      calibrationBatches  1.5 is not a whole number; 1 or more was expected  fix: calibrationBatches: 64
      calibrationBatches  "many" is not a whole number; 1 or more was expected  fix: calibrationBatches: 64
      layout  "no such word" is not one of peft, adapterhub  fix: layout: "peft"
      layout  7 is not one of peft, adapterhub  fix: layout: "peft"
      plugin  7 is not a name or a list of names  fix: leave plugin out
      plugin  [-1] is not a name or a list of names  fix: leave plugin out
      plugin  {"bad":0} is not a name or a list of names  fix: leave plugin out
      verify  "no such word" is not true or false  fix: verify: true
      verify  7 is not true or false  fix: verify: true
      profile  "no such word" is not true or false  fix: profile: false
      profile  7 is not true or false  fix: profile: false"
    `);
  });

  test("peft train", () => {
    expect(refusals("peft train")).toMatchInlineSnapshot(`
      "dryRun  "no such word" is not true or false  fix: --no-dry-run
      dryRun  7 is not true or false  fix: --no-dry-run"
    `);
  });

  test("peft generate", () => {
    expect(refusals("peft generate")).toMatchInlineSnapshot(`
      "adapter  7 is not a text  fix: leave --adapter out
      adapter  [-1] is not a text  fix: leave --adapter out
      adapter  {"bad":0} is not a text  fix: leave --adapter out
      system  7 is not a text  fix: leave --system out
      system  [-1] is not a text  fix: leave --system out
      system  {"bad":0} is not a text  fix: leave --system out
      stop  7 is not a text  fix: leave --stop out
      stop  [-1] is not a text  fix: leave --stop out
      stop  {"bad":0} is not a text  fix: leave --stop out
      taskId  7 is not a text  fix: leave --task-id out
      taskId  [-1] is not a text  fix: leave --task-id out
      taskId  {"bad":0} is not a text  fix: leave --task-id out
      raw  "no such word" is not true or false  fix: --no-raw
      raw  7 is not true or false  fix: --no-raw"
    `);
  });

  test("peft predict", () => {
    expect(refusals("peft predict")).toMatchInlineSnapshot(`
      "adapter  7 is not a text  fix: leave --adapter out
      adapter  [-1] is not a text  fix: leave --adapter out
      adapter  {"bad":0} is not a text  fix: leave --adapter out
      dataset  7 is not a text  fix: leave --dataset out
      dataset  [-1] is not a text  fix: leave --dataset out
      dataset  {"bad":0} is not a text  fix: leave --dataset out
      question  7 is not a text  fix: leave --question out
      question  [-1] is not a text  fix: leave --question out
      question  {"bad":0} is not a text  fix: leave --question out
      maxLength  1 is too small; at least 2 was expected  fix: --max-length 512
      maxLength  1.5 is not a whole number; 2 or more was expected  fix: --max-length 512
      maxLength  "many" is not a whole number; 2 or more was expected  fix: --max-length 512
      batchSize  0 is too small; at least 1 was expected  fix: --batch-size 8
      batchSize  1.5 is not a whole number; 1 or more was expected  fix: --batch-size 8
      batchSize  "many" is not a whole number; 1 or more was expected  fix: --batch-size 8"
    `);
  });

  test("peft merge", () => {
    expect(refusals("peft merge")).toMatchInlineSnapshot(`
      "outputDir  7 is not a text  fix: --output-dir merged
      outputDir  [-1] is not a text  fix: --output-dir merged
      outputDir  {"bad":0} is not a text  fix: --output-dir merged
      dtype  "no such word" is not one of auto, float32, float16, bfloat16  fix: --dtype auto
      dtype  7 is not one of auto, float32, float16, bfloat16  fix: --dtype auto"
    `);
  });

  test("peft inspect", () => {
    expect(refusals("peft inspect")).toMatchInlineSnapshot(`
      "model  7 is not a text  fix: leave --model out
      model  [-1] is not a text  fix: leave --model out
      model  {"bad":0} is not a text  fix: leave --model out
      rows  0 is too small; at least 1 was expected  fix: --rows 3
      rows  1.5 is not a whole number; 1 or more was expected  fix: --rows 3
      rows  "many" is not a whole number; 1 or more was expected  fix: --rows 3
      maxLength  1 is too small; at least 2 was expected  fix: --max-length 1024
      maxLength  1.5 is not a whole number; 2 or more was expected  fix: --max-length 1024
      maxLength  "many" is not a whole number; 2 or more was expected  fix: --max-length 1024"
    `);
  });

  test("peft match", () => {
    expect(refusals("peft match")).toMatchInlineSnapshot(`
      "peftType  "no such word" is not one of LORA, ADALORA, LOHA, LOKR, VERA, IA3, OFT, BOFT, HRA, FOURIERFT, SHIRA, LN_TUNING, BITFIT, TRAINABLE_TOKENS, SEQ_BN, DOUBLE_SEQ_BN, PAR_BN, SCALED_PAR_BN, COMPACTER, COMPACTER_PLUS_PLUS, PROMPT_TUNING, PREFIX_TUNING, P_TUNING, MULTITASK_PROMPT_TUNING  fix: --peft-type LORA
      peftType  7 is not one of LORA, ADALORA, LOHA, LOKR, VERA, IA3, OFT, BOFT, HRA, FOURIERFT, SHIRA, LN_TUNING, BITFIT, TRAINABLE_TOKENS, SEQ_BN, DOUBLE_SEQ_BN, PAR_BN, SCALED_PAR_BN, COMPACTER, COMPACTER_PLUS_PLUS, PROMPT_TUNING, PREFIX_TUNING, P_TUNING, MULTITASK_PROMPT_TUNING  fix: --peft-type LORA
      adapter  7 is not a text  fix: leave --adapter out
      adapter  [-1] is not a text  fix: leave --adapter out
      adapter  {"bad":0} is not a text  fix: leave --adapter out
      json  "no such word" is not true or false  fix: --no-json
      json  7 is not true or false  fix: --no-json"
    `);
  });

  test("peft methods", () => {
    expect(refusals("peft methods")).toMatchInlineSnapshot(`
      "model  7 is not a text  fix: leave --model out
      model  [-1] is not a text  fix: leave --model out
      model  {"bad":0} is not a text  fix: leave --model out"
    `);
  });

  test("peft demo", () => {
    expect(refusals("peft demo")).toMatchInlineSnapshot(`
      "outputDir  7 is not a text  fix: --output-dir out/demo
      outputDir  [-1] is not a text  fix: --output-dir out/demo
      outputDir  {"bad":0} is not a text  fix: --output-dir out/demo
      seed  -1 is too small; at least 0 was expected  fix: --seed 0
      seed  1.5 is not a whole number; 0 or more was expected  fix: --seed 0
      seed  "many" is not a whole number; 0 or more was expected  fix: --seed 0"
    `);
  });

  test("no option that src declares is left out", () => {
    const missing = [...records].flatMap(([name, options]) =>
      Object.entries(options)
        .filter(([, option]) => !shown.has(option))
        .map(([key]) => `${name} ${key}`),
    );
    expect(missing).toEqual([]);
  });

  test("every text says what was expected, and every cure is taken and more than nothing", () => {
    for (const [name, options] of records)
      for (const [key, option] of Object.entries(options)) {
        const cure = option.example ?? option.default;
        // What run files and flags write as a text, such as 800MiB.
        const value = typeof cure === "string" ? option.fromText(cure) : cure;
        expect(optionFaults({ [key]: option }, { [key]: value }, "camelCase"), `${name} ${key}`).toEqual([]);
        expect(value, `${name} ${key}`).not.toBe("");
        const faults = badValues(option).flatMap((bad) =>
          optionFaults({ [key]: option }, { [key]: bad.value }, "camelCase"),
        );
        expect(faults.length, `${name} ${key}`).toBe(badValues(option).length);
        for (const { text } of faults) expect(text).not.toContain("what was expected");
      }
  });
});
