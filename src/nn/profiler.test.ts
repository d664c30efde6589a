import { join } from "node:path";
import { expect, test, vi } from "vitest";
import { fixturesFolder } from "../../test/support/fixture.js";
import { AutoModelForCausalLM } from "../auto/auto-model.js";
import { profileLines } from "../cli/profile.js";
import { createEngine } from "../runtime/engines.js";
import { NO_FLOPS } from "./flops.js";
import { matmulPeaks } from "./matmul-peak.js";
import { Profiler } from "./profiler.js";

const inputIds = [
  [5, 6, 7],
  [8, 9],
];

test("every part is counted, with the operations of its matrix products", async () => {
  const base = await AutoModelForCausalLM.fromPretrained(join(fixturesFolder, "llama/model"));
  const profiler = new Profiler();
  base.runner.sessions.profiler = profiler;
  await base.forward({ inputIds });
  const rows = new Map(profiler.table().map((row) => [row.name, row]));
  // Five tokens, width 32, keys and values of 16, feed-forward 48, three layers, 97 words.
  const flops = {
    "layers.*.attention_in forward": 3 * 2 * 5 * 32 * (32 + 16 + 16),
    "layers.*.attention_out_mlp forward": 3 * 2 * 5 * 32 * (32 + 3 * 48),
    // Two rows that run as one under a mask: 4 heads of 8 over 5 tokens, queries with keys and weights with values.
    attention: 3 * 2 * 2 * 4 * 8 * 5 * 5,
    head: 2 * 5 * 32 * 97,
  };
  for (const [name, expected] of Object.entries(flops))
    expect(rows.get(name)?.flops, name).toEqual({ float32: expected, int8: 0 });
  expect(rows.get("layers.*.attention_in forward")?.calls).toBe(3);
  base.runner.sessions.profiler = undefined;
  const before = profiler.spans.length;
  await base.forward({ inputIds });
  expect(profiler.spans).toHaveLength(before);
  await base.close();
});

test("a trace has every span and sample in microseconds", () => {
  const profiler = new Profiler();
  const flops = { float32: 8e6, int8: 0 };
  profiler.spans.push({ name: "loss", start: 2, duration: 4, share: 4, lane: 0, flops, bytes: 100 });
  profiler.samples.push({ name: "resident bytes", time: 3, value: 1000 });
  expect(profiler.chromeTrace()).toMatchObject({
    traceEvents: [
      { name: "loss", ph: "X", ts: 2000, dur: 4000, args: { gflops: 2 } },
      { name: "resident bytes", ph: "C", ts: 3000, args: { "resident bytes": 1000 } },
    ],
  });
});

test("what runs side by side shares the time, and has lanes of its own in the trace", () => {
  const times = [0, 10, 30, 40, 50, 60];
  const now = vi.spyOn(performance, "now").mockImplementation(() => times.shift()!);
  const profiler = new Profiler();
  const first = profiler.begin("attention");
  const second = profiler.begin("loss");
  first.end();
  const third = profiler.begin("attention");
  third.end();
  second.end();
  now.mockRestore();
  expect(profiler.table().map(({ name, milliseconds }) => [name, milliseconds])).toEqual([
    // Alone for 10 ms, beside the other for 20; then beside it for 10.
    ["loss", 10 + 10 + 5 + 10],
    ["attention", 10 + 10 + 5],
  ]);
  expect(profiler.spans.map(({ duration, lane }) => [duration, lane])).toEqual([
    [30, 0],
    [10, 0],
    [50, 1],
  ]);
});

test("the table as a person reads it", () => {
  const rows = [
    { name: "loss", calls: 2, milliseconds: 1500, flops: { float32: 60e9, int8: 30e9 }, bytes: 0 },
    { name: "optimizer", calls: 2, milliseconds: 20, flops: NO_FLOPS, bytes: 0 },
  ];
  expect(profileLines("part", rows, 2000, { float32: 120e9, int8: 120e9 }).join("\n")).toMatchInlineSnapshot(`
    "part          calls        ms     share   GFLOP/s   of peak
    loss              2     1,500    75.0 %        60      50 %
    optimizer         2        20     1.0 %"
  `);
});

test("the peak of the machine is a number that makes sense", async () => {
  const engine = await createEngine({});
  const { float32, int8 } = await matmulPeaks(engine);
  for (const peak of [float32, int8]) {
    expect(peak).toBeGreaterThan(1e8);
    expect(peak).toBeLessThan(1e14);
  }
  await engine.close();
});
