import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { byteMatrix, byteParts } from "../base/byte-matrix.js";
import { packedParts, packMatrix } from "../base/packed-matrix.js";
import { blockCodes } from "../files/gguf-codes.js";
import { WorkerCrew } from "../runtime/worker-crew.js";
import { Arena } from "./arena.js";
import { arrange, filledRows } from "./arrange.js";
import { StepEmitter } from "./emitter.js";
import { UNPACKED, unpackStep } from "./products.js";
import { StepProgram } from "./program.js";

const path = join(import.meta.dirname, "../../test/fixtures/gguf/blocks.json");
const fixtures = JSON.parse(readFileSync(path, "utf8")) as Record<string, { type: number; bytes: string }>;
const BLOCK_BYTES = { Q4_0: 18, Q4_1: 20, Q8_0: 34 } as const;

test.each(["Q4_0", "Q4_1", "Q8_0"] as const)(
  "%s: threads bring blocks of a file into the order that is made of codes",
  async (name) => {
    const { type, bytes } = fixtures[name]!;
    const { bits, offsets: hasOffsets } = UNPACKED[type]!;
    const block = BLOCK_BYTES[name];
    const all = Buffer.from(bytes, "base64");
    // Two matrices of 2 and 11 rows one below the other, 3 blocks in a row, of the blocks that there are over and over.
    const [width, perRow] = [96, 3 * block];
    const pieces = [2, 11].map((rows, piece) => {
      const data = new Uint8Array(rows * perRow);
      for (let i = 0; i < rows * 3; i += 1) {
        const from = (((i + piece) * block) % (all.length - (all.length % block))) as number;
        data.set(all.subarray(from, from + block), i * block);
      }
      return { rows, data };
    });
    const { packing, read } = blockCodes[type]!;
    const total = filledRows(13);
    const arena = new Arena();
    const cells = (count: number, dtype: "uint8" | "float32", size: number) => ({
      address: arena.allocate(size)!,
      origin: 0,
      dims: [13, count],
      dtype,
      stride: count,
    });
    const codeBytes = (width * bits) / 8;
    const tensors = {
      codes: cells(codeBytes, "uint8", total * codeBytes),
      scales: cells(3, "float32", total * 12),
      offsets: hasOffsets ? cells(3, "float32", total * 12) : undefined,
    };
    const expected = Object.fromEntries(
      Object.entries({ codes: codeBytes, scales: 12, offsets: 12 }).map(([part, size]) => [
        part,
        new Uint8Array(total * size),
      ]),
    );
    const emit = new StepEmitter(arena, 3);
    let firstRow = 0;
    for (const { rows, data } of pieces) {
      const raw = arena.allocate(data.length)!;
      arena.bytesAt(raw, data.length).set(data);
      unpackStep(emit, { raw, rows, firstRow, kind: type }, tensors);
      const rowOf = (row: number) => data.subarray(row * perRow, (row + 1) * perRow);
      const fill = (row: number, into: Parameters<typeof read>[1]) => read(rowOf(row), into);
      const parts: ReadonlyMap<string, { data: ArrayBufferView }> =
        bits === 8
          ? byteParts(byteMatrix([rows, width], packing, fill))
          : packedParts(packMatrix([rows, width], packing, fill));
      for (const [part, { data: values }] of parts) {
        const kind = part === "byte bytes" ? "bytes" : part.startsWith("codes") ? "nibbles" : "numbers";
        const target = kind !== "numbers" ? "codes" : part === "offsets" ? "offsets" : "scales";
        arrange(kind, values, rows, firstRow, expected[target]!);
      }
      firstRow += rows;
    }
    const crew = new WorkerCrew(arena.memory, 3);
    await crew.run(new StepProgram(emit).address, 1);
    await crew.close();
    for (const [part, one] of Object.entries(tensors)) {
      if (one === undefined) continue;
      const actual = arena.bytesAt(one.address, expected[part]!.length);
      expect([...actual], part).toEqual([...expected[part]!]);
    }
  },
);
