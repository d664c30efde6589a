import { existsSync } from "node:fs";
import { join } from "node:path";
import type { PretrainedModel } from "../auto/pretrained-model.js";
import { ConfigError } from "../base/errors.js";
import { optionalText } from "../base/option.js";
import { suggest } from "../base/suggest.js";
import type { OutputFolder } from "../files/folder.js";
import { resolveModel } from "../files/hub.js";
import { readJsonObject } from "../files/json-file.js";
import { taskNumber, type TaskSet } from "../text/task-ids.js";

const FILE = "tasks.json";

/** The flag for the task of what is asked. */
export const taskIdOption = optionalText({
  doc: "Task of what is asked, by number or name, for adapters that know several.",
  placeholder: "<task>",
});

/** Writes the names of tasks beside an adapter, for which Hugging Face has no place. */
export async function saveTaskNames(folder: OutputFolder, tasks: TaskSet | undefined): Promise<void> {
  if (tasks?.names !== undefined) await folder.json(FILE, { names: tasks.names });
}

/** The tasks of the active adapter, with the names that its folder has for them; undefined where it has none. */
export async function tasksOf(
  base: PretrainedModel,
  adapter: string | undefined,
): Promise<TaskSet | undefined> {
  const count = base.taskCount;
  if (count === undefined || adapter === undefined) return undefined;
  const path = join(await resolveModel(adapter), FILE);
  const { names } = existsSync(path) ? await readJsonObject(path) : {};
  return { count, names: names as string[] | undefined };
}

/**
 * The number of the task that was asked for, for each of `rows` rows; undefined where the adapter has no tasks.
 *
 * @throws {@link ConfigError} `task_id` where there is no such task, `option_missing` where none is named and there are several, and
 * `option_without_effect` where the adapter has none
 */
export function askedTasks(
  asked: string | undefined,
  tasks: TaskSet | undefined,
  rows: number,
): number[] | undefined {
  const known = tasks && (tasks.names?.join(", ") ?? (tasks.count === 1 ? "0" : `0 to ${tasks.count - 1}`));
  if (tasks === undefined || known === undefined) {
    if (asked === undefined) return undefined;
    throw new ConfigError({
      code: "option_without_effect",
      summary: "--task-id has no effect: the adapter has no tasks, or there is no adapter.",
      fixes: ["leave --task-id out"],
      fields: { asked },
    });
  }
  if (asked === undefined && tasks.count > 1) {
    throw new ConfigError({
      code: "option_missing",
      summary: "The adapter knows several tasks, and none was named.",
      facts: [["tasks", known]],
      fixes: [`--task-id ${tasks.names?.[0] ?? 0}`],
      fields: { tasks },
    });
  }
  const found = taskNumber(asked ?? 0, asked === undefined ? { count: tasks.count } : tasks);
  if (typeof found === "number") return Array.from({ length: rows }, () => found);
  throw new ConfigError({
    code: "task_id",
    summary: `--task-id: ${found}.`,
    fixes: [`--task-id ${suggest(asked ?? "", [...(tasks.names ?? [])])[0] ?? tasks.names?.[0] ?? 0}`],
    fields: { asked, tasks },
  });
}
