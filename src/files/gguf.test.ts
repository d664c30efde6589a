import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { expectClose } from "../../test/support/close.js";
import { tokenizerFromFiles } from "../text/tokenizer.js";
import { openCheckpoint } from "./checkpoint.js";
import { blockTypes } from "./gguf-blocks.js";

const fixtures = join(import.meta.dirname, "../../test/fixtures");
const path = join(fixtures, "gguf/llama.gguf");
const folder = mkdtempSync(join(tmpdir(), "peft-gguf-"));
afterAll(() => rmSync(folder, { recursive: true }));

const blocks = JSON.parse(readFileSync(join(fixtures, "gguf/blocks.json"), "utf8")) as Record<
  string,
  { type: number; bytes: string; values: string }
>;

describe("blocks decode as in Python's gguf", () => {
  test.each(Object.entries(blocks))("%s", (name, { type, bytes, values }) => {
    const block = blockTypes[type]!;
    expect(block.name).toBe(name);
    const raw = Buffer.from(values, "base64");
    const expected = new Float32Array(raw.buffer.slice(raw.byteOffset, raw.byteOffset + raw.byteLength));
    const out = new Float32Array(expected.length);
    block.decode(Buffer.from(bytes, "base64"), out);
    expectClose(name, out, expected, { absolute: 0, relative: 1e-6 });
  });

  test("every type is covered", () => {
    expect(
      Object.values(blockTypes)
        .map(({ name }) => name)
        .sort(),
    ).toEqual(Object.keys(blocks).sort());
  });
});

test("a model has Hugging Face's names, order of rows, config and tokenizer", async () => {
  const gguf = await openCheckpoint(path);
  const original = await openCheckpoint(join(fixtures, "llama/model"));
  expect(gguf.names().sort()).toEqual(original.names().sort());
  for (const name of gguf.names()) {
    const exact = gguf.describe(name).storedAs === "F32";
    const [a, b] = [gguf.read(name).data as Float32Array, original.read(name).data as Float32Array];
    expectClose(name, a, b, exact ? { absolute: 0 } : { absolute: 0.02 });
  }
  const config = gguf.config();
  for (const key of [
    "model_type",
    "hidden_size",
    "num_hidden_layers",
    "num_key_value_heads",
    "vocab_size",
    "tie_word_embeddings",
  ]) {
    expect(config[key], key).toEqual(original.config()[key]);
  }
  const tokenizer = tokenizerFromFiles(gguf.tokenizerFiles()!);
  expect(tokenizer.encode("ab a<|end|>b")).toEqual([96, 94, 64, 95, 65]);
  expect(tokenizer.eosTokenIds).toEqual([95]);
  expect(tokenizer.chatTemplate).toContain("messages");
  gguf.close();
  original.close();
});

describe("damaged files", () => {
  const damage = (name: string, change: (bytes: Buffer) => Buffer): string => {
    const file = join(folder, `${name}.gguf`);
    writeFileSync(file, change(Buffer.from(readFileSync(path))));
    return file;
  };
  const messageOf = async (file: string): Promise<string> => {
    const error = await openCheckpoint(file).then(
      () => undefined,
      (reason: unknown) => reason as Error,
    );
    return String(error?.message).replaceAll(folder, "DIR");
  };

  test("truncated in the tensors", async () => {
    expect(await messageOf(damage("cut", (bytes) => bytes.subarray(0, bytes.length - 4000))))
      .toMatchInlineSnapshot(`
        "The file ends before tensor blk.2.attn_q.weight does.
          file      DIR/cut.gguf
          expected  at least 73,760 bytes
          got       71,936 bytes
        fix: fetch the file again; a download that broke off leaves such a file"
      `);
  });
  test("truncated in the header", async () => {
    expect(await messageOf(damage("head", (bytes) => bytes.subarray(0, 300)))).toMatchInlineSnapshot(`
      "The header speaks of 29 tensors, more than this file can hold: it is cut off or damaged.
        file  DIR/head.gguf
        at    byte 16 of 300
      fix: fetch the file again; a download that broke off leaves such a file"
    `);
  });
  test("not GGUF at all", async () => {
    expect(await messageOf(damage("text", () => Buffer.from("this is a text file, not weights at all"))))
      .toMatchInlineSnapshot(`
      "DIR/text.gguf is no GGUF file: it does not begin with "GGUF".
        file  DIR/text.gguf
        at    byte 0 of 39
      fix: fetch the file again; a download that broke off leaves such a file"
    `);
  });
  test("an element type that is not decoded, a part of several, a tensor twice", async () => {
    const replace = (from: string, to: string) => (bytes: Buffer) => {
      const at = bytes.indexOf(from);
      expect(at, from).toBeGreaterThan(0);
      bytes.write(to, at, "latin1");
      return bytes;
    };
    expect(await messageOf(damage("twice", replace("blk.0.attn_k.weight", "blk.0.attn_v.weight")))).toContain(
      "describes tensor blk.0.attn_v.weight twice",
    );
    const type = (bytes: Buffer): Buffer => {
      // After the name: the rank, one size, and then the type.
      const at = bytes.indexOf("output_norm.weight") + "output_norm.weight".length + 4 + 8;
      bytes.writeUInt32LE(16, at);
      return bytes;
    };
    expect(await messageOf(damage("type", type))).toMatchInlineSnapshot(`
      "Tensor output_norm.weight of DIR/type.gguf has the ggml type IQ2_XXS, which cannot be decoded.
        known  F32, F16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, BF16
      fix: take another file of the same model, such as Q8_0, Q4_K_M or F16"
    `);
  });
  test("a count that lies", async () => {
    const lie = (bytes: Buffer): Buffer => {
      bytes.writeBigUInt64LE(2n ** 60n, 8);
      return bytes;
    };
    expect(await messageOf(damage("lie", lie))).toMatchInlineSnapshot(`
      "The header speaks of 1152921504606846976 tensors, more than this file can hold: it is cut off or damaged.
        file  DIR/lie.gguf
        at    byte 16 of 75,936
      fix: fetch the file again; a download that broke off leaves such a file"
    `);
  });
});
