import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { expectClose } from "../../test/support/close.js";
import { byteMatrix } from "../base/byte-matrix.js";
import { type BlockCodes, packMatrix } from "../base/packed-matrix.js";
import { blockTypes } from "./gguf-blocks.js";
import { blockCodes } from "./gguf-codes.js";

const path = join(import.meta.dirname, "../../test/fixtures/gguf/blocks.json");
const blocks = JSON.parse(readFileSync(path, "utf8")) as Record<
  string,
  { type: number; bytes: string; values: string }
>;
/** A matrix of blocks, what it decodes to, and how its rows are read. */
function rowsOf({ type, bytes, values }: (typeof blocks)[string]) {
  const { packing, read, pack } = blockCodes[type]!;
  const raw = Buffer.from(values, "base64");
  const expected = new Float32Array(raw.buffer.slice(raw.byteOffset, raw.byteOffset + raw.byteLength));
  const width = blockTypes[type]!.values;
  const rows = expected.length / width;
  const data = Buffer.from(bytes, "base64");
  const rowBytes = data.length / rows;
  const bytesOf = (row: number): Buffer => data.subarray(row * rowBytes, (row + 1) * rowBytes);
  return {
    expected,
    packing,
    shape: [rows, width] as const,
    read: (row: number, into: BlockCodes): void => read(bytesOf(row), into),
    pack:
      pack &&
      ((row: number, codes: Uint8Array, to: number, into: BlockCodes): void =>
        pack(bytesOf(row), codes, to, into)),
  };
}

const coded = Object.entries(blocks).filter(([, { type }]) => blockCodes[type] !== undefined);

describe("codes with their scales are the numbers that Python's gguf decodes", () => {
  test.each(coded)("%s", (name, block) => {
    const { expected, packing, shape, read } = rowsOf(block);
    const { digits, offsets } = packMatrix(shape, packing, read);
    expect(digits).toHaveLength(packing.digits);
    expect(offsets !== undefined).toBe(packing.offsets);
    const w = expected.map((_, i) => {
      const block = Math.floor(i / packing.blockSize);
      const sum = digits.reduce((total, { codes, scales }) => {
        const byte = codes.data[i >> 1] as number;
        return total + (scales.data[block] as number) * ((i % 2 === 0 ? byte & 15 : byte >> 4) - 8);
      }, 0);
      return sum + ((offsets?.data[block] as number | undefined) ?? 0);
    });
    const largest = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    expectClose(name, w, expected, { absolute: 1e-6 * largest, relative: 1e-6 });
  });

  test("the types that files in use are made of are among them", () => {
    expect(coded.map(([name]) => name).sort()).toEqual(["Q4_0", "Q4_1", "Q4_K", "Q5_K", "Q6_K", "Q8_0"]);
  });
});

describe("codes of 4 bits that are packed at once are those that are packed one by one", () => {
  test.each(["Q4_0", "Q4_1"])("%s", (name) => {
    const { packing, shape, read, pack } = rowsOf(blocks[name]!);
    expect(pack).toBeDefined();
    expect(packMatrix(shape, packing, read, pack)).toEqual(packMatrix(shape, packing, read));
  });
});

describe("a byte for each code is the number that Python's gguf decodes, exactly where blocks are symmetric", () => {
  test.each(coded)("%s", (name, block) => {
    const { expected, packing, shape, read } = rowsOf(block);
    const matrix = byteMatrix(shape, packing, read);
    const symmetric = ["Q4_0", "Q6_K", "Q8_0"].includes(name);
    for (let b = 0; b * packing.blockSize < expected.length; b += 1) {
      const block = expected.subarray(b * packing.blockSize, (b + 1) * packing.blockSize);
      const largest = block.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
      const scale = matrix.scales.data[b] as number;
      const w = [...block.keys()].map(
        (i) => scale * ((matrix.bytes.data[b * packing.blockSize + i] as number) - 128),
      );
      expectClose(`${name} block ${b}`, w, block, { absolute: largest * (symmetric ? 1e-6 : 1.001 / 254) });
    }
  });
});
