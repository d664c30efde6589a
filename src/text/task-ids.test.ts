import { expect, test } from "vitest";
import { collate } from "./collate.js";
import type { EncodedExample } from "./encode-example.js";
import { findTasks, taskNumber, withTasks } from "./task-ids.js";

const rowsOf = (...values: readonly object[]) =>
  values.map((value, i) => ({ source: `rows:${i + 1}`, value: value as Record<string, unknown> }));

const encoded = (count: number): EncodedExample[] =>
  Array.from({ length: count }, (_, i) => ({
    source: `rows:${i + 1}`,
    inputIds: [1, 2],
    labels: [1, 2],
    truncated: 0,
    trained: 1,
  }));

test("numbers stay, texts of digits too; names are counted in alphabetical order, and found by number as well", () => {
  expect(findTasks(rowsOf({ task_id: 1 }, { task_ids: "0" }, {}), 3)).toEqual({ count: 3 });
  const tasks = findTasks(rowsOf({ kind: "b" }, { kind: "a" }, { kind: 7 }), 4, { task_id: "kind" });
  expect(tasks).toEqual({ count: 4, names: ["7", "a", "b"] });
  expect(["a", 7, "7", 2].map((task) => taskNumber(task, tasks))).toEqual([1, 0, 0, 2]);
  expect(taskNumber(3, tasks)).toBe("3 is none of the tasks 7, a, b");
  expect(taskNumber("A", tasks)).toBe('"A" is none of the tasks 7, a, b (a?)');
  expect(taskNumber(1.5, { count: 2 })).toBe("1.5 is none of the tasks 0 to 1");
});

test("a batch says the task of each row where there are tasks", () => {
  const rows = rowsOf({ task_id: 1 }, { task_id: "0" });
  expect(collate(withTasks(encoded(2), rows, { tasks: { count: 2 } })).taskIds).toEqual([1, 0]);
  expect(collate(withTasks(encoded(1), rowsOf({}), { tasks: { count: 1 } })).taskIds).toEqual([0]);
  expect(collate(withTasks(encoded(2), rows, {}))).not.toHaveProperty("taskIds");
});

test("rows without a task, of an unknown one, or of too many", () => {
  const rows = rowsOf({ task_id: 2 }, {}, { task_id: 1 });
  expect(() => withTasks(encoded(3), rows, { tasks: { count: 2 } })).toThrowErrorMatchingInlineSnapshot(`
    [ConfigError: 2 of 3 rows say no task that the adapter knows.
      rows   rows:1: 2 is none of the tasks 0 to 1
             rows:2: it has no task_id
      tasks  0 to 1
    fix: give every row a task_id, or name the column that holds it: { task_id: "kind" }   (--columns task_id=kind)]
  `);
  expect(() => findTasks(rowsOf({ task_id: "a" }, { task_id: "b" }), 1)).toThrowErrorMatchingInlineSnapshot(`
    [ConfigError: The rows name 2 tasks; the adapter knows 1.
      tasks  a, b
    fix: numTasks: 2   (--num-tasks 2)]
  `);
});
