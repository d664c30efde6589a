import { choice, integer, optionalText } from "../base/option.js";
import { promptOptions, PROMPT_STARTS, promptTextOptions } from "../base/prompt-options.js";
import { normal } from "../nn/prompt-encoder.js";
import {
  beforeInput,
  checkedPromptSizes,
  promptRows,
  type PromptStart,
  promptStart,
} from "../nn/prompt-start.js";
import type { Initialiser } from "../base/fill.js";
import type { ModelSite } from "../nn/site.js";
import { type ConfigFault, defineMethod, type ModelScope } from "./method.js";
import {
  isSourceStart,
  SOURCE_STARTS,
  type SourceStart,
  sourceStart,
} from "./multitask-prompt-tuning-source.js";

/** How the tensors start: at random or as a text, or from a source. */
function startOf(
  site: ModelSite,
  config: Omit<PromptStart, "promptTuningInit"> & {
    readonly promptTuningInit: PromptStart["promptTuningInit"] | SourceStart;
    readonly promptTuningInitTask: number;
    readonly numRanks: number;
  },
  scope: ModelScope,
): Partial<Record<"columns" | "rows", Initialiser>> & { readonly prompt: Initialiser } {
  const { promptTuningInit: start, numRanks: ranks, numVirtualTokens } = config;
  if (!isSourceStart(start))
    return { prompt: promptStart(site, { ...config, promptTuningInit: start }, scope) };
  if (scope.startTensors === undefined) return { prompt: () => undefined };
  const sizes = { count: promptRows(site, config), ranks, width: site.width, numVirtualTokens };
  return sourceStart(start, config.promptTuningInitTask, scope.startTensors, sizes);
}

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
 * @example
 * // A further task, from what the others taught (§3.3): the shared virtual tokens and the mean of the factors of all tasks.
 * const source = { promptTuningInit: "AVERAGE_SOURCE_TASKS", promptTuningInitStateDictPath: "source" } as const;
 * const model = await getPeftModel(base, { peftType: "MULTITASK_PROMPT_TUNING", numVirtualTokens: 20, ...source });
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
    promptTuningInit: choice({
      values: [...PROMPT_STARTS, ...SOURCE_STARTS],
      default: "RANDOM",
      doc: "How the virtual tokens start: RANDOM, TEXT or SAMPLE_VOCAB with random factors, or as a source: with the mean of its tasks' factors, with those of one of them, or with random ones.",
    }),
    promptTuningInitStateDictPath: optionalText({
      doc: "Adapter folder, .safetensors or .bin file of the source that promptTuningInit names.",
      placeholder: "<path>",
    }),
    promptTuningInitTask: integer({
      default: 0,
      min: 0,
      doc: "Task of the source whose factors EXACT_SOURCE_TASK takes, 0 or more.",
    }),
    ...promptTextOptions,
  },
  quantisedBase: true,
  inert: {},
  check({ promptTuningInit: start, promptTuningInitStateDictPath: path, promptTuningInitTask: task }) {
    const faults: ConfigFault[] = [];
    if (isSourceStart(start) !== (path !== undefined))
      faults.push({
        keys: ["promptTuningInitStateDictPath", "promptTuningInit"],
        text: path === undefined ? "it is needed and not given" : "it has no effect",
        fix: path === undefined ? { promptTuningInit: "RANDOM" } : { promptTuningInit: SOURCE_STARTS[0] },
      });
    if (task !== 0 && start !== "EXACT_SOURCE_TASK")
      faults.push({
        keys: ["promptTuningInitTask", "promptTuningInit"],
        text: "it has no effect",
        fix: { promptTuningInitTask: 0 },
      });
    return faults;
  },
  startFile: ({ promptTuningInitStateDictPath: path }) => path,
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
    const start = startOf(site, config, scope);
    const prompt = scope.param("embedding.weight", "prompt_embeddings", [count, width], start.prompt);
    const factor = (key: string, shape: readonly number[], init?: Initialiser) =>
      scope.param(key, key, shape, init ?? normal(0.02));
    const columns = factor("prefix_task_cols", [tasks, count, ranks], start.columns);
    const rows = factor("prefix_task_rows", [tasks, ranks, width], start.rows);
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
