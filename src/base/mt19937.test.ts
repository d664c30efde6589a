import { describe, expect, test } from "vitest";
import { Mt19937 } from "./mt19937.js";

// The expected numbers are those of torch 2.15 on a CPU, from torch.Generator().manual_seed(seed).
describe("the numbers of torch", () => {
  test("randperm", () => {
    expect([...new Mt19937(777).permutation(20)]).toEqual([
      15, 0, 9, 11, 3, 7, 5, 1, 19, 13, 4, 6, 18, 14, 12, 2, 10, 17, 16, 8,
    ]);
  });

  test("the beginning of a long randperm leaves the generator where the whole would", () => {
    const random = new Mt19937(5);
    expect([...random.permutation(40_000, 6)]).toEqual([13411, 2740, 33765, 33695, 20802, 33375]);
    expect([...random.permutation(8)]).toEqual([3, 5, 2, 1, 4, 6, 7, 0]);
    const two = new Float32Array(2);
    random.uniform(two, 0, 1);
    expect([...two]).toEqual([0.40674012899398804, 0.6200464367866516]);
  });

  test("uniform_", () => {
    const random = new Mt19937(0);
    const unit = new Float32Array(3);
    random.uniform(unit, 0, 1);
    expect([...unit]).toEqual([0.49625658988952637, 0.7682217955589294, 0.08847743272781372]);
    const wide = new Float32Array(2);
    random.uniform(wide, -2, 2);
    expect([...wide]).toEqual([-1.4718780517578125, -0.7703087329864502]);
  });

  test.each([
    [
      5,
      [1.5409960746765137, -0.293428897857666, -2.1787893772125244, 0.5684312582015991, -1.0845223665237427],
    ],
    [
      20,
      [
        -1.1258398294448853, -1.152360200881958, -0.2505785822868347, -0.4338788092136383, 0.5988394618034363,
        -1.5550950765609741, -0.3413603901863098, 1.85300612449646, 0.46809640526771545, -0.1577124446630478,
        1.4436601400375366, 0.26604941487312317, 1.3893661499023438, 1.586334228515625, 0.946298360824585,
        -0.843676745891571, 0.9318265914916992, 1.2590092420578003, 2.0049805641174316, 0.05373690277338028,
      ],
    ],
  ])("randn of %i numbers", (count, expected) => {
    const data = new Float32Array(count);
    new Mt19937(0).normal(data);
    for (const [i, value] of data.entries()) expect(value).toBeCloseTo(expected[i]!, 5);
  });
});

test("a random order that torch would draw in another way is refused", () => {
  expect(() => new Mt19937(0).permutation(2 ** 28)).toThrowErrorMatchingInlineSnapshot(`
    [UnsupportedError: A random order of 268,435,456 numbers is wanted; torch's can be repeated below 214,748,364.
    fix: adapt smaller layers: leave the head and the embedding out of targetModules]
  `);
});
