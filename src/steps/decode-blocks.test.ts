import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { blockTypes } from "../files/gguf-blocks.js";
import { decodeBlocks, decodesBlocks } from "./decode-blocks.js";

const path = join(import.meta.dirname, "../../test/fixtures/gguf/blocks.json");
const fixtures = JSON.parse(readFileSync(path, "utf8")) as Record<string, { type: number; bytes: string }>;

test.each(["Q4_0", "Q4_1", "Q8_0"])("%s is decoded to the same bits, in pieces too", (name) => {
  const { type: kind, bytes } = fixtures[name]!;
  const { values, bytes: perBlock, decode } = blockTypes[kind]!;
  const some = Buffer.from(bytes, "base64");
  const [rows, width] = [700, 3 * values];
  const bytesPerRow = 3 * perBlock;
  const all = new Uint8Array(rows * bytesPerRow);
  const whole = some.length - (some.length % perBlock);
  for (let i = 0; i < all.length; i += 1) all[i] = some[i % whole]!;
  const expected = new Float32Array(rows * width);
  decode(all, expected);
  const out = new Float32Array(rows * width);
  const copy = (to: Uint8Array, row: number): void => {
    to.set(all.subarray(row * bytesPerRow, row * bytesPerRow + to.length));
  };
  decodeBlocks({ kind, bytesPerRow, copy }, [rows, width], out);
  expect(new Uint32Array(out.buffer).every((bits, i) => bits === new Uint32Array(expected.buffer)[i])).toBe(
    true,
  );
});

test("other kinds are not for it", () => {
  expect(decodesBlocks({ kind: 12 })).toBe(false);
});
