import { integer } from "../base/option.js";
import { promptOptions, promptTextOptions, promptTuningInit } from "../base/prompt-options.js";
import { normal } from "../nn/prompt-encoder.js";
import { beforeInput, checkedPromptSizes, promptRows, promptStart } from "../nn/prompt-start.js";
import { defineMethod } from "./method.js";

/**
 * Virtual tokens before the input that tasks share, each with a low-rank factor of its own: x ← [P ⊙ U_t V_t; x].
 *
 * Shapes: P (n, D); U (tasks, n, ranks) and V (tasks, ranks, D), of which a row of the batch uses those of its task, from
 * `taskIds` of the batch. Virtual tokens stand at positions 0 … n − 1. With an encoder and a decoder P and U have 2 n rows: n before the
 * source and n before the answer (`numTransformerSubmodules: 1` has none before the answer).
 * Adds N · D + tasks · ranks · (N + D) parameters to the model, N = n, or 2 n with encoder and decoder. It does not start as a no-op, and cannot be merged.
 * Differs from the paper: no distillation from prompts of single tasks, as in Hugging Face. Differs from Hugging Face: answers are generated with the
 * virtual tokens before them that they were trained with.
 *
 * @example
 * const model = await getPeftModel(base, { peftType: "MULTITASK_PROMPT_TUNING", numTasks: 3, numVirtualTokens: 20 });
 * await model.backward({ inputIds, labels, taskIds: [0, 2] });
 * @see Wang et al., "Multitask Prompt Tuning Enables Parameter-Efficient Transfer Learning", arXiv:2303.02861, §3.2
 */
export const multitaskPromptTuning = defineMethod({
  name: "MULTITASK_PROMPT_TUNING",
  title: "Multitask prompt tuning",
  paper: "arXiv:2303.02861",
  formula: "x ← [P ⊙ U_t V_t; x]",
  parameters: "n · D + tasks · ranks · (n + D), n counted twice with encoder and decoder",
  advice:
    "Several related tasks that should share what they have in common; the batch says the task of each row.",
  sites: ["model"],
  config: {
    ...promptOptions,
    numTasks: integer({ default: 1, min: 1, doc: "Tasks that share the virtual tokens." }),
    numRanks: integer({ default: 1, min: 1, doc: "Rank of the factor that a task has." }),
    promptTuningInit,
    ...promptTextOptions,
  },
  mixedBatch: false,
  quantisedBase: true,
  inert: { prompt_tuning_init_state_dict_path: null, prompt_tuning_init_task: 0 },
  parameterCount({ site }, config) {
    const rows = promptRows(site, config);
    return rows * site.width + config.numTasks * config.numRanks * (rows + site.width);
  },
  identityStart: () => false,
  mergeable: () => false,
  attach(site, config, scope) {
    const sizes = checkedPromptSizes(site, config, { into: "input" });
    const { numTasks: tasks, numRanks: ranks } = config;
    const count = promptRows(site, config);
    const { width } = site;
    const prompt = scope.param(
      "embedding.weight",
      "prompt_embeddings",
      [count, width],
      promptStart(site, config, scope),
    );
    const factor = (key: string, shape: readonly number[]) => scope.param(key, key, shape, normal(0.02));
    const columns = factor("prefix_task_cols", [tasks, count, ranks]);
    const rows = factor("prefix_task_rows", [tasks, ranks, width]);
    return {
      config: sizes,
      virtual: {
        ...beforeInput(site, sizes, config, "each"),
        tasks,
        rows({ f, p, tasks: tasksOfRows }) {
          const task = tasksOfRows(); // (B)
          const ofTask = (table: typeof columns, a: number, b: number) =>
            f.reshape(f.gather(f.reshape(p(table), { shape: [tasks, a * b] }), task), { shape: ["B", a, b] });
          const factors = f.matmul(ofTask(columns, count, ranks), ofTask(rows, ranks, width), {}); // (B, S n, D)
          return f.reshape(f.mul(factors, p(prompt)), { shape: ["B S n", width] });
        },
      },
    };
  },
});
