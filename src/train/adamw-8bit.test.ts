import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { expectClose } from "../../test/support/close.js";
import { fixturesFolder } from "../../test/support/fixture.js";
import { openSafetensors, type SafetensorsFile } from "../files/safetensors.js";
import { writeSafetensors } from "../files/safetensors-write.js";
import { Parameter } from "../nn/parameter.js";
import { AdamW } from "./adamw.js";
import { AdamW8bit } from "./adamw-8bit.js";
import { loadOptimizerState, saveOptimizerState } from "./optimizer-file.js";

const folder = mkdtempSync(join(tmpdir(), "peft-adamw-8bit-"));
let expected: SafetensorsFile;
beforeAll(async () => {
  expected = await openSafetensors(join(fixturesFolder, "adamw-8bit.safetensors"));
});
afterAll(() => {
  expected.close();
  rmSync(folder, { recursive: true });
});

const SIZES = { large: 4096 + 300, small: 4095 };
const SETTINGS = { learningRate: 1e-2, weightDecay: 0.1 };
const SCALES = [1, 1e-1, 1e-2, 1e-4];

/** Numbers from −1 to 1: a multiplicative hash of the place, as make_adamw_8bit_fixtures.py has it. */
function noise(size: number, seed: number): Float64Array {
  return Float64Array.from({ length: size }, (_, place) => {
    const mixed = (Math.imul(place, 2654435761) + Math.imul(seed, 40503)) >>> 0;
    return (Math.imul(mixed ^ (mixed >>> 15), 2246822519) >>> 0) / 2 ** 31 - 1;
  });
}

/** Gradients whose sizes are far apart within a block, too: where v becomes 0 and m does not, steps are large, here as there. */
const gradient = (size: number, step: number, power = 5): Float32Array =>
  Float32Array.from(noise(size, 100 + step), (value, i) => {
    const block = Math.floor(i / 256);
    return block % 5 === 4 ? 0 : value ** power * SCALES[block % 4]!;
  });

function parameter(name: string, size: number): Parameter {
  const made = new Parameter([size], { trainable: true });
  made.name = name;
  made.allocate().set(noise(size, 7));
  return made;
}

async function move(optimizer: AdamW | AdamW8bit, from: number, to: number, power?: number): Promise<void> {
  for (let step = from; step <= to; step += 1) {
    for (const one of optimizer.parameters) one.grad = gradient(one.size, step, power);
    await optimizer.step();
  }
}

describe.each(Object.entries(SIZES))("%s", (name, size) => {
  test.each([1, 6])("weights and codes after %s steps are those of the formulas in numpy", async (steps) => {
    const one = parameter(name, size);
    const optimizer = new AdamW8bit([one], SETTINGS);
    await move(optimizer, 1, steps);
    const read = (key: string) => expected.read(`${name}.${steps}.${key}`).data as Float32Array;
    expectClose("weights", one.data, read("weights"), { absolute: 1e-6, relative: 1e-6 });
    const moments = optimizer.state().moments.get(name)!;
    if (name === "small") {
      expect(Object.keys(moments)).toEqual(["first", "second"]);
      expect(moments["first"]).toBeInstanceOf(Float32Array);
      return;
    }
    for (const key of ["first", "second"]) {
      const [codes, theirs] = [moments[key]!, read(key)];
      const blank = (i: number): boolean => moments[`${key}.absmax`]![Math.floor(i / 256)] === 0;
      const apart = [...codes].filter((code, i) => !blank(i) && code !== theirs[i]).length;
      // Halfway between two numbers the last bit decides.
      expect(apart, key).toBeLessThanOrEqual(2);
      expectClose(key, moments[`${key}.absmax`] as Float32Array, read(`${key}.absmax`), { relative: 1e-6 });
    }
  });
});

test("small parameters move as those of AdamW do, bit for bit; large ones nearly so", async () => {
  const run = async (make: typeof AdamW | typeof AdamW8bit, size: number): Promise<Float32Array> => {
    const one = parameter("w", size);
    await move(new make([one], SETTINGS), 1, 4, 1);
    return one.data;
  };
  expect(await run(AdamW8bit, 4095)).toEqual(await run(AdamW, 4095));
  const [coded, plain] = [await run(AdamW8bit, 4396), await run(AdamW, 4396)];
  expect(coded).not.toEqual(plain);
  const moved = Math.hypot(...plain.map((value, i) => value - noise(4396, 7)[i]!));
  expect(Math.hypot(...plain.map((value, i) => value - coded[i]!)) / moved).toBeLessThan(0.1);
});

test("goes on from a file as if nothing had happened, and the file is in 8 bits", async () => {
  const make = (): Parameter[] => [parameter("large", 4396), parameter("small", 12)];
  const straight = new AdamW8bit(make(), SETTINGS);
  await move(straight, 1, 5);
  const first = new AdamW8bit(make(), SETTINGS);
  await move(first, 1, 3);
  const path = join(folder, "optimizer.safetensors");
  const bytes = await saveOptimizerState(path, first.state());
  expect(first.stateBytes()).toBe(2 * 4396 + 8 * 18 + 8 * 12);
  expect(bytes - first.stateBytes()).toBeLessThan(1024);
  const second = new AdamW8bit(make(), SETTINGS);
  for (const [i, one] of second.parameters.entries()) one.data.set(first.parameters[i]!.data);
  second.loadState(await loadOptimizerState(path));
  expect(second.stepCount).toBe(3);
  await move(second, 4, 5);
  for (const [i, one] of second.parameters.entries()) expect(one.data).toEqual(straight.parameters[i]!.data);
  expect(second.state()).toEqual(straight.state());
});

test("how many bytes there are", () => {
  const one = [parameter("w", 2 ** 20)];
  expect(new AdamW(one).stateBytes()).toBe(8 * 2 ** 20);
  expect(new AdamW(one, { amsgrad: true }).stateBytes()).toBe(12 * 2 ** 20);
  expect(new AdamW8bit(one).stateBytes()).toBe(2 * 2 ** 20 + 8 * 4096);
  expect(new AdamW8bit(one, { min8bitSize: 2 ** 20 + 1 }).stateBytes()).toBe(8 * 2 ** 20);
});

test("mistakes", async () => {
  const one = [parameter("layers.0.q", 4396)];
  const plain = new AdamW(one);
  await move(plain, 1, 1);
  expect(() => new AdamW8bit(one).loadState(plain.state())).toThrowErrorMatchingInlineSnapshot(`
    [ConfigError: The state of an optimiser does not fit, so it cannot go on from there.
      state  layers.0.q: holds first float32 (4,396), second float32 (4,396); expected first uint8 (4,396), first.absmax float32 (18), second uint8 (4,396), second.absmax float32 (18)
    fix: make the optimiser, and the adapter, with the options that the state was saved with]
  `);
  expect(() => new AdamW8bit(one, { amsgrad: true, min8bitSize: -1 } as never))
    .toThrowErrorMatchingInlineSnapshot(`
    [ConfigError: AdamW8bit has 2 options that cannot be used.
      amsgrad      there is no such option
      min8bitSize  -1 is too small; at least 0 was expected
    fix: min8bitSize: 4096]
  `);
  const other = join(folder, "other.safetensors");
  await writeSafetensors(other, [["w", { dtype: "float32", shape: [1], data: new Float32Array(1) }]]);
  const said = await loadOptimizerState(other).catch((error: Error) => error.message.replace(folder, "."));
  expect(said).toMatchInlineSnapshot(`
    "./other.safetensors is not the state of an optimiser: it says no step.
    fix: give the file that saveOptimizerState wrote"
  `);
  writeFileSync(join(folder, "empty"), "");
  await expect(loadOptimizerState(join(folder, "empty"))).rejects.toThrow("empty");
});
