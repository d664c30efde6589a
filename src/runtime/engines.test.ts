import { afterAll, describe, expect, test } from "vitest";
import { hostTensor, zeros } from "../base/host-tensor.js";
import { encodeModel, type OnnxModel } from "../onnx/model.js";
import { createEngine, type EngineName } from "./engines.js";
import { availableMemoryBytes, peakResidentBytes, residentBytes } from "./memory.js";

const vector = { dtype: "float32", shape: ["N"] } as const;
const square = { dtype: "float32", shape: ["N", "N"] } as const;
const node = (
  opType: string,
  inputs: string[],
  output: string,
  attributes: OnnxModel["nodes"][number]["attributes"] = {},
) => ({
  opType,
  name: `node_${output}`,
  domain: "",
  inputs,
  outputs: [output],
  attributes,
});
const addModel = encodeModel({
  name: "add",
  nodes: [node("Add", ["a", "b"], "y")],
  constants: [],
  inputs: [
    ["a", vector],
    ["b", vector],
  ],
  outputs: [["y", vector]],
});
/** Many products of one matrix, long enough to be interrupted. */
const slowModel = (count: number): Uint8Array =>
  encodeModel({
    name: "slow",
    nodes: Array.from({ length: count }, (_, i) =>
      node("MatMul", [i === 0 ? "x" : `y${i - 1}`, "x"], i === count - 1 ? "y" : `y${i}`),
    ),
    constants: [],
    inputs: [["x", square]],
    outputs: [["y", square]],
  });
const floats = (...values: number[]) => hostTensor("float32", [values.length], Float32Array.from(values));

describe.each(["ort-native", "ort-node"] as const)("%s", (name: EngineName) => {
  const opened = createEngine({ engine: name });
  afterAll(async () => (await opened).close());

  test("writes into the caller's memory, views included", async () => {
    const session = await (await opened).compile(addModel);
    expect([session.inputNames, session.outputNames]).toEqual([["a", "b"], ["y"]]);
    const memory = new Float32Array(8);
    const a = hostTensor("float32", [3], Float32Array.of(0, 1, 2, 3).subarray(1));
    await session.run([a, floats(10, 20, 30)], [hostTensor("float32", [3], memory.subarray(2, 5))]);
    expect([...memory]).toEqual([0, 0, 11, 22, 33, 0, 0, 0]);
    await session.close();
    await session.close();
  });

  test("one session takes any size of a named dimension, also several runs at once", async () => {
    const session = await (await opened).compile(addModel);
    const outs = [1, 4, 9].map((size) => zeros("float32", [size]));
    await Promise.all(
      outs.map((out) =>
        session.run(
          [
            hostTensor("float32", out.dims, new Float32Array(out.data.length).fill(2)),
            zeros("float32", out.dims),
          ],
          [out],
        ),
      ),
    );
    for (const out of outs) expect([...(out.data as Float32Array)].every((v) => v === 2)).toBe(true);
    await session.close();
  });

  test("a brief run gives the same numbers and the same errors", async () => {
    const session = await (await opened).compile(addModel);
    const y = zeros("float32", [2]);
    await session.run([floats(1, 2), floats(10, 20)], [y], { brief: true });
    expect([...(y.data as Float32Array)]).toEqual([11, 22]);
    await expect(session.run([floats(1, 2), floats(1, 2, 3)], [y], { brief: true })).rejects.toThrow(
      /to run/,
    );
    await session.close();
  });

  test("an output may lie on an elementwise input", async () => {
    const session = await (await opened).compile(addModel);
    const a = floats(1, 2);
    await session.run([a, floats(5, 5)], [a]);
    expect([...(a.data as Float32Array)]).toEqual([6, 7]);
    await session.close();
  });

  test("a graph that cannot be compiled, and a run that cannot be done", async () => {
    const engine = await opened;
    const broken = encodeModel({
      name: "broken",
      nodes: [node("NoSuchOp", ["a"], "y")],
      constants: [],
      inputs: [["a", vector]],
      outputs: [["y", vector]],
    });
    await expect(engine.compile(broken, { name: "broken" })).rejects.toThrow(
      /refused to compile broken: .*NoSuchOp/,
    );
    const session = await engine.compile(addModel, { name: "add" });
    await expect(session.run([floats(1, 2), floats(1, 2, 3)], [zeros("float32", [3])])).rejects.toThrow(
      /refused to run add: /,
    );
    await session.close();
  });

  test("a signal that is up already", async () => {
    const session = await (await opened).compile(addModel);
    const run = session.run([floats(1), floats(1)], [zeros("float32", [1])], { signal: AbortSignal.abort() });
    await expect(run).rejects.toMatchObject({ name: "AbortError" });
    await session.close();
  });
});

describe("ort-native alone", () => {
  const opened = createEngine({ engine: "ort-native" });
  afterAll(async () => (await opened).close());

  test("leaves the event loop free and stops when the signal says so", async () => {
    const session = await (await opened).compile(slowModel(400));
    const x = hostTensor("float32", [512, 512], new Float32Array(512 * 512).fill(1e-3));
    const controller = new AbortController();
    let ticks = 0;
    const timer = setInterval(() => (ticks += 1), 10);
    setTimeout(() => controller.abort(), 200);
    const began = performance.now();
    await expect(
      session.run([x], [zeros("float32", [512, 512])], { signal: controller.signal }),
    ).rejects.toMatchObject({
      name: "AbortError",
    });
    clearInterval(timer);
    expect(ticks).toBeGreaterThan(5);
    expect(performance.now() - began).toBeLessThan(3000);
    await session.close();
  });

  test("takes bfloat16", async () => {
    const half = { dtype: "bfloat16", shape: ["N"] } as const;
    const model = encodeModel({
      name: "cast",
      nodes: [node("Cast", ["x"], "y", { to: 1 })],
      constants: [],
      inputs: [["x", half]],
      outputs: [["y", vector]],
    });
    const session = await (await opened).compile(model);
    const y = zeros("float32", [2]);
    await session.run([hostTensor("bfloat16", [2], Uint16Array.of(0x3f80, 0xc040))], [y]);
    expect([...(y.data as Float32Array)]).toEqual([1, -3]);
    await session.close();
  });
});

test("an unknown engine", async () => {
  await expect(createEngine({ engine: "ort-nativ" as EngineName })).rejects
    .toThrowErrorMatchingInlineSnapshot(`
    [ConfigError: There is no engine called "ort-nativ".
      nearest  ort-native
      engines  ort-native, ort-node]
  `);
});

test("memory is reported in bytes that make sense", () => {
  expect(residentBytes()).toBeGreaterThan(2 ** 24);
  expect(peakResidentBytes()).toBeGreaterThanOrEqual(residentBytes() * 0.9);
  expect(availableMemoryBytes()).toBeGreaterThan(2 ** 26);
});
