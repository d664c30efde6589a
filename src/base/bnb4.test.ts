import { join } from "node:path";
import { expect, test } from "vitest";
import { openSafetensors } from "../files/safetensors.js";
import { blockCount, codedBytes, decode4, decodeScales, quantise4 } from "./bnb4.js";
import type { QuantType } from "./code-books.js";
import { dynamicMap } from "./dynamic-map.js";

const FIXTURE = join(import.meta.dirname, "../../test/fixtures/bnb/blocks.safetensors");

test("codes, scales and decoded values are those of bitsandbytes, bit for bit", async () => {
  const file = await openSafetensors(FIXTURE);
  const names = [...file.tensors.keys()].filter((name) => name.endsWith(".values"));
  expect(names).toHaveLength(5);
  for (const name of names) {
    const [, quantType] = name.split(".") as [string, QuantType];
    const read = (what: string): unknown => file.read(name.replace("values", what)).data;
    const coded = quantise4(read("values") as Float32Array, { quantType, blockSize: 64, nested: false });
    expect(coded.codes, name).toEqual(read("codes"));
    expect(coded.absmax, name).toEqual(read("absmax"));
    const decoded = new Float32Array(coded.size);
    decode4(coded, decoded);
    expect(
      decoded.map((value) => value + 0),
      name,
    ).toEqual((read("decoded") as Float32Array).map((value) => value + 0));
  }
  file.close();
});

test("the maps of 8 bits are those of bitsandbytes, bit for bit", async () => {
  const file = await openSafetensors(FIXTURE);
  expect(dynamicMap(true)).toEqual(file.read("map.signed").data);
  expect(dynamicMap(false)).toEqual(file.read("map.unsigned").data);
  file.close();
});

test("scales in codes are near to what they stand for, and take a quarter of the bytes", () => {
  const values = Float32Array.from({ length: 64 * 600 }, (_, i) => Math.sin(i * i) * (1 + (i % 977) / 977));
  const plain = quantise4(values, { quantType: "nf4", blockSize: 64, nested: false });
  const nested = quantise4(values, { quantType: "nf4", blockSize: 64, nested: true });
  expect(nested.codes).toEqual(plain.codes);
  const scales = new Float32Array(blockCount(nested));
  decodeScales(nested.absmax, scales);
  const errors = scales.map((scale, i) => Math.abs(scale / (plain.absmax as Float32Array)[i]! - 1));
  expect(Math.max(...errors)).toBeLessThan(0.01);
  expect((8 * codedBytes(plain)) / values.length).toBe(4.5);
  expect((8 * codedBytes(nested)) / values.length).toBeCloseTo(4.1275, 3);
});

test("values beyond the last whole block are a block of their own", () => {
  const coded = quantise4(Float32Array.of(1, -2, 0.5), { quantType: "nf4", blockSize: 64, nested: false });
  const decoded = new Float32Array(3);
  decode4(coded, decoded);
  expect(coded.absmax).toEqual(Float32Array.of(2));
  expect([...decoded]).toEqual([0.44070982933044434 * 2, -2, 0.24611230194568634 * 2]);
});
