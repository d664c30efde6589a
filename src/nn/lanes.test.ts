import { setTimeout } from "node:timers/promises";
import { expect, test } from "vitest";
import { inLanes } from "./lanes.js";

test("so many jobs are under way at once, in their order", async () => {
  const log: string[] = [];
  let busy = 0;
  const jobs = [30, 5, 5, 5].map((delay, i) => async () => {
    busy += 1;
    log.push(`${i} begins, ${busy} under way`);
    await setTimeout(delay);
    busy -= 1;
  });
  await inLanes(jobs, 2);
  expect(log).toEqual([
    "0 begins, 1 under way",
    "1 begins, 2 under way",
    "2 begins, 2 under way",
    "3 begins, 2 under way",
  ]);
  await inLanes([], 2);
});

test("a failure ends what is not begun, and is thrown when the rest has ended", async () => {
  const ended: number[] = [];
  const jobs = [0, 1, 2, 3].map((i) => async () => {
    await setTimeout(i === 0 ? 20 : 1);
    if (i === 1) throw new Error("no memory");
    ended.push(i);
  });
  await expect(inLanes(jobs, 2)).rejects.toThrow("no memory");
  expect(ended).toEqual([0]);
});
