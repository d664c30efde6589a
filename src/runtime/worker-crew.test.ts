import { expect, test } from "vitest";
import { Arena } from "../steps/arena.js";
import { StepEmitter } from "../steps/emitter.js";
import { StepProgram } from "../steps/program.js";
import { unarySteps } from "../steps/elementwise.js";
import { WorkerCrew } from "./worker-crew.js";

/** A program that doubles some numbers, where they are, and the crew that runs it. */
function doubling(threads: number, address?: number) {
  const arena = new Arena();
  const emit = new StepEmitter(arena, threads);
  const x = emit.cells([64, 256]);
  const y = unarySteps(emit, "scale", address === undefined ? x : { ...x, address }, 2);
  return { arena, x, y, program: new StepProgram(emit), crew: new WorkerCrew(arena.memory, threads) };
}

test("programs run one after another, as often as they are asked for", async () => {
  const { arena, x, y, program, crew } = doubling(3);
  const [from, to] = [x, y].map(({ address }) => arena.floats(address, 64 * 256)) as [
    Float32Array,
    Float32Array,
  ];
  for (let runs = 1; runs <= 50; runs += 1) {
    from.fill(runs);
    await crew.run(program.address, runs);
    expect(to.every((value) => value === 2 * runs)).toBe(true);
  }
  await Promise.all([51, 52, 53].map((runs) => crew.run(program.address, runs)));
  await crew.close();
});

test("a thread that fails ends the run with its error, and the crew", async () => {
  const { program, crew } = doubling(2, 0xfffff000);
  await expect(crew.run(program.address, 1)).rejects.toThrow("out of bounds");
  await expect(crew.run(program.address, 2)).rejects.toThrow("one of which failed");
  await crew.close();
});

test("a memory that grows keeps what is in it, and hands out again what came back", () => {
  const arena = new Arena();
  const first = arena.allocate(1000)!;
  arena.bytesAt(first, 1000).fill(7);
  const early = arena.bytesAt(first, 1000);
  const large = arena.allocate(40 * 2 ** 20)!;
  expect(arena.bytes).toBeGreaterThan(40 * 2 ** 20);
  expect([...new Set(early)]).toEqual([7]);
  expect(arena.addressOf(arena.bytesAt(large, 8))).toBe(large);
  expect(arena.addressOf(new Uint8Array(8))).toBeUndefined();
  arena.free(first);
  expect(arena.allocate(900)).toBe(first);
  expect([...new Set(arena.bytesAt(first, 900))]).toEqual([0]);
  expect(arena.allocate(2 ** 33)).toBeUndefined();
});
