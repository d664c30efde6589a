import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { writeFileAtomic } from "./atomic-write.js";
import { openCheckpoint } from "./checkpoint.js";
import { openSafetensors } from "./safetensors.js";
import { writeSafetensors } from "./safetensors-write.js";

const folder = mkdtempSync(join(tmpdir(), "peft-safetensors-"));
afterAll(() => rmSync(folder, { recursive: true }));
const fixtures = join(import.meta.dirname, "../../test/fixtures");
const at = (name: string): string => join(folder, name);

/** A file with any header one likes. */
function writeRaw(name: string, header: unknown, data = new Uint8Array(16)): string {
  const json = Buffer.from(typeof header === "string" ? header : JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  writeFileSync(at(name), Buffer.concat([length, json, data]));
  return at(name);
}

async function messageOf(work: Promise<unknown>): Promise<string> {
  const error = await work.then(
    () => undefined,
    (reason: unknown) => reason as Error,
  );
  return String(error?.message).replaceAll(folder, "DIR");
}

test("what is written is read back bit for bit, at any alignment", async () => {
  const tensors = [
    ["odd", { dtype: "uint8", shape: [3], data: Uint8Array.of(1, 2, 3) }],
    ["a", { dtype: "float32", shape: [2, 2], data: Float32Array.of(1, -0, Number.NaN, 3e38) }],
    ["b", { dtype: "bfloat16", shape: [2], data: Uint16Array.of(0x3f80, 0xff80) }],
    ["empty", { dtype: "float32", shape: [0, 4], data: new Float32Array() }],
    ["late", { dtype: "int64", shape: [], data: () => BigInt64Array.of(-5n) }],
  ] as const;
  await writeSafetensors(at("round.safetensors"), tensors);
  const file = await openSafetensors(at("round.safetensors"));
  expect([...file.tensors.keys()]).toEqual(["odd", "a", "b", "empty", "late"]);
  expect(file.metadata).toEqual({ format: "pt" });
  for (const [name, { dtype, shape, data }] of tensors) {
    expect(file.read(name)).toEqual({ dtype, dims: shape, data: typeof data === "function" ? data() : data });
  }
  file.close();
  const first = readFileSync(at("round.safetensors"));
  await writeSafetensors(at("again.safetensors"), tensors);
  expect(readFileSync(at("again.safetensors")).equals(first)).toBe(true);
});

test("a failed write leaves what was there", async () => {
  writeFileSync(at("kept.safetensors"), "before");
  const broken = [["a", { dtype: "float32", shape: [2], data: () => Float32Array.of(1) }]] as const;
  await expect(writeSafetensors(at("kept.safetensors"), broken)).rejects.toThrow("announced");
  expect(readFileSync(at("kept.safetensors"), "utf8")).toBe("before");
});

test("names that are numbers keep their order, and none may be given twice", async () => {
  const one = { dtype: "float32", shape: [1], data: Float32Array.of(1) } as const;
  await writeSafetensors(at("numbers.safetensors"), [
    ["b", one],
    ["1", one],
    ["0", one],
  ]);
  const file = await openSafetensors(at("numbers.safetensors"));
  expect(file.tensors.get("b")!.offset).toBeLessThan(file.tensors.get("1")!.offset);
  file.close();
  const text = readFileSync(at("numbers.safetensors"), "latin1");
  expect(text.indexOf('"b"')).toBeLessThan(text.indexOf('"1"'));
  await expect(
    writeSafetensors(at("twice.safetensors"), [
      ["a", one],
      ["a", one],
    ]),
  ).rejects.toThrow("Two tensors");
});

test("a full disk is told from other faults, and nothing half-written stays", async () => {
  async function* failing(): AsyncGenerator<Uint8Array> {
    yield Uint8Array.of(1);
    throw Object.assign(new Error("no space left"), { code: "ENOSPC" });
  }
  mkdirSync(at("full"));
  expect(await messageOf(writeFileAtomic(at("full/model.bin"), failing()))).toMatchInlineSnapshot(`
    "The disk is full: DIR/full/model.bin was not written.
      kept  whatever was there before is unchanged
    fix: free some space, or choose a folder on another disk"
  `);
  expect(readdirSync(at("full"))).toEqual([]);
});

test("two writes of one file at a time do not mix", async () => {
  const texts = ["a".repeat(1e5), "b".repeat(1e5)];
  await Promise.all(texts.map((text) => writeFileAtomic(at("both"), text)));
  expect(texts).toContain(readFileSync(at("both"), "utf8"));
});

test("a folder that cannot be written", async () => {
  writeFileSync(at("file"), "");
  expect(await messageOf(writeSafetensors(at("file/model.safetensors"), []))).toMatchInlineSnapshot(`
    "DIR/file/model.safetensors cannot be written: a file is in the way.
    fix: choose another folder"
  `);
});

describe("damaged files", () => {
  const entry = { dtype: "F32", shape: [2, 2], data_offsets: [0, 16] };
  test("missing", async () => {
    expect(await messageOf(openSafetensors(at("none.safetensors")))).toMatchInlineSnapshot(
      `"There is no file DIR/none.safetensors."`,
    );
  });
  test("truncated", async () => {
    const file = writeRaw("cut.safetensors", { a: entry }, new Uint8Array(7));
    expect(await messageOf(openSafetensors(file))).toMatchInlineSnapshot(`
      "The file ends before tensor a does.
        file      DIR/cut.safetensors
        expected  at least 81 bytes
        got       72 bytes
      fix: fetch the file again; a download that broke off leaves such a file"
    `);
  });
  test("a header longer than the file", async () => {
    writeFileSync(at("long.safetensors"), Buffer.from([200, 0, 0, 0, 0, 0, 0, 0, 123, 125]));
    expect(await messageOf(openSafetensors(at("long.safetensors")))).toMatchInlineSnapshot(`
      "The file ends within its header.
        file      DIR/long.safetensors
        expected  at least 208 bytes
        got       10 bytes
      fix: fetch the file again; a download that broke off leaves such a file"
    `);
  });
  test("no safetensors file at all", async () => {
    writeFileSync(at("text.safetensors"), "<html>404 not found, this is a page</html>");
    expect(await messageOf(openSafetensors(at("text.safetensors")))).toMatchInlineSnapshot(`
      "The file claims a header of 3,473,469,848,023,230,500 bytes: this is no safetensors file.
        file  DIR/text.safetensors
      fix: fetch the file again; a download that broke off leaves such a file"
    `);
  });
  test("a shape that does not fit its bytes", async () => {
    const file = writeRaw("lie.safetensors", { a: { ...entry, shape: [3, 2] } });
    expect(await messageOf(openSafetensors(file))).toMatchInlineSnapshot(`
      "The header gives tensor a 16 bytes; its shape needs 24 bytes.
        file   DIR/lie.safetensors
        shape  F32 (3, 2)
      fix: fetch the file again; a download that broke off leaves such a file"
    `);
  });
  test("sizes beyond reason", async () => {
    const file = writeRaw("huge.safetensors", { a: { ...entry, shape: [2 ** 40, 2 ** 40] } });
    expect(await messageOf(openSafetensors(file))).toMatchInlineSnapshot(`
      "The header gives tensor a 16 bytes; its shape needs 4,835,703,278,458,517,000,000,000 bytes.
        file   DIR/huge.safetensors
        shape  F32 (1099511627776, 1099511627776)
      fix: fetch the file again; a download that broke off leaves such a file"
    `);
  });
  test("negative sizes", async () => {
    const file = writeRaw("negative.safetensors", { a: { ...entry, shape: [-2, -2] } });
    expect(await messageOf(openSafetensors(file))).toMatchInlineSnapshot(`
      "The header describes tensor a in a way that makes no sense.
        file  DIR/negative.safetensors
        got   {"dtype":"F32","shape":[-2,-2],"data_offsets":[0,16]}
      fix: fetch the file again; a download that broke off leaves such a file"
    `);
  });
  test("two tensors in one place", async () => {
    const file = writeRaw("overlap.safetensors", { a: entry, b: entry });
    expect(await messageOf(openSafetensors(file))).toMatchInlineSnapshot(`
      "The header gives tensors a and b the same bytes.
        file  DIR/overlap.safetensors
      fix: fetch the file again; a download that broke off leaves such a file"
    `);
  });
  test("no object where a tensor is described", async () => {
    expect(await messageOf(openSafetensors(writeRaw("null.safetensors", { a: null }))))
      .toMatchInlineSnapshot(`
      "The header describes tensor a in a way that makes no sense.
        file  DIR/null.safetensors
        got   null
      fix: fetch the file again; a download that broke off leaves such a file"
    `);
  });
  test("one name twice", async () => {
    const json = JSON.stringify({ a: entry }).slice(0, -1);
    const file = writeRaw(
      "twice.safetensors",
      `${json}, "b\\"{": ${JSON.stringify(entry)}, ${json.slice(1)}}`,
    );
    expect(await messageOf(openSafetensors(file))).toMatchInlineSnapshot(`
      "The header describes a twice.
        file  DIR/twice.safetensors
      fix: fetch the file again; a download that broke off leaves such a file"
    `);
  });
  test("bytes that belong to no tensor", async () => {
    const gap = {
      a: { ...entry, shape: [1], data_offsets: [0, 4] },
      b: { ...entry, shape: [2], data_offsets: [8, 16] },
    };
    expect(await messageOf(openSafetensors(writeRaw("gap.safetensors", gap)))).toMatchInlineSnapshot(`
      "The header leaves 4 bytes of the file to no tensor.
        file  DIR/gap.safetensors
        at    byte 120 of the file
      fix: fetch the file again; a download that broke off leaves such a file"
    `);
    const longer = writeRaw("longer.safetensors", { a: entry }, new Uint8Array(20));
    expect(await messageOf(openSafetensors(longer))).toContain("leaves 4 bytes of the file to no tensor");
  });
  test("metadata that are no texts", async () => {
    const file = writeRaw("meta.safetensors", { __metadata__: { format: 1 }, a: entry });
    expect(await messageOf(openSafetensors(file))).toContain("__metadata__ is not an object of texts");
  });
  test("a tensor that is not there", async () => {
    const file = await openSafetensors(writeRaw("one.safetensors", { "model.norm.weight": entry }));
    const read = async (): Promise<unknown> => file.read("model.norm.weigth");
    expect(await messageOf(read())).toMatchInlineSnapshot(`
      "DIR/one.safetensors holds no tensor model.norm.weigth.
        nearest  model.norm.weight
      fix: check the name"
    `);
    file.close();
  });
  test("a folder in place of the file", async () => {
    expect(await messageOf(openSafetensors(folder))).toContain("DIR is a folder; a file was expected.");
  });
  test("an unknown element type", async () => {
    const file = writeRaw("type.safetensors", { a: { ...entry, dtype: "F4" } });
    expect(await messageOf(openSafetensors(file))).toMatchInlineSnapshot(`
      "Tensor a has the element type "F4", which cannot be read.
        file   DIR/type.safetensors
        known  F64, F32, F16, BF16, I64, I32, I8, U8, BOOL
      fix: take a version of the model in bfloat16, float16 or float32"
    `);
  });
});

describe("folders", () => {
  test("shards give the same tensors as their index says", async () => {
    const checkpoint = await openCheckpoint(join(fixtures, "llama-bias/model"));
    expect(checkpoint.names()).toContain("model.layers.2.mlp.down_proj.bias");
    expect(checkpoint.read("lm_head.weight").dims).toEqual([97, 32]);
    checkpoint.close();
  });
  test("absent shards are all named", async () => {
    mkdirSync(at("shards"));
    const map = { a: "model-1.safetensors", b: "model-2.safetensors", c: "model-2.safetensors" };
    writeFileSync(at("shards/model.safetensors.index.json"), JSON.stringify({ weight_map: map }));
    writeFileSync(at("shards/config.json"), "{}");
    expect(await messageOf(openCheckpoint(at("shards")))).toMatchInlineSnapshot(`
      "DIR/shards lacks 2 of the 2 files that its index names.
        missing  model-1.safetensors
                 model-2.safetensors
      fix: fetch the missing files again"
    `);
  });
  test("an index that names what no shard holds", async () => {
    const from = join(fixtures, "llama-bias/model");
    mkdirSync(at("index"));
    for (const name of readdirSync(from)) copyFileSync(join(from, name), at(`index/${name}`));
    const path = at("index/model.safetensors.index.json");
    const index = JSON.parse(readFileSync(path, "utf8")) as { weight_map: Record<string, string> };
    const [shard = ""] = Object.values(index.weight_map);
    index.weight_map["model.extra"] = shard;
    writeFileSync(path, JSON.stringify(index));
    expect(await messageOf(openCheckpoint(at("index")))).toMatchInlineSnapshot(`
      "The index of DIR/index names a tensor that its files do not hold.
        missing  model.extra  in model-00007-of-00007.safetensors
      fix: fetch the model again: the index and the files are of different versions"
    `);
  });
  test("a file that is named is the one that is read", async () => {
    mkdirSync(at("named"));
    writeFileSync(at("named/config.json"), "{}");
    const one = { dtype: "float32", shape: [1], data: Float32Array.of(1) } as const;
    await writeSafetensors(at("named/model.safetensors"), [["a", one]]);
    await writeSafetensors(at("named/model.ema.safetensors"), [["b", one]]);
    const checkpoint = await openCheckpoint(at("named/model.ema.safetensors"));
    expect(checkpoint.names()).toEqual(["b"]);
    checkpoint.close();
  });
  test("nothing there", async () => {
    expect(await messageOf(openCheckpoint(at("nowhere")))).toMatchInlineSnapshot(`
      "There is nothing at DIR/nowhere.
      fix: check the path; a model is a folder with config.json, or a .gguf file"
    `);
  });
  test("an adapter where a model was expected", async () => {
    expect(
      (await messageOf(openCheckpoint(join(fixtures, "llama/adapter")))).replaceAll(fixtures, "FIXTURES"),
    ).toMatchInlineSnapshot(`
      "FIXTURES/llama/adapter holds an adapter, not a model.
      fix: load the base model first, then this folder as its adapter (--adapter FIXTURES/llama/adapter)"
    `);
  });
  test("only PyTorch's own format", async () => {
    mkdirSync(at("pickle"));
    writeFileSync(at("pickle/pytorch_model.bin"), "");
    writeFileSync(at("pickle/config.json"), "{}");
    expect(await messageOf(openCheckpoint(at("pickle")))).toMatchInlineSnapshot(`
      "DIR/pickle holds no weights: neither model.safetensors, nor its index, nor a .gguf file.
      fix: convert pytorch_model.bin to safetensors with Python's transformers: save_pretrained(folder)"
    `);
  });
  test("a config that is not JSON", async () => {
    mkdirSync(at("syntax"));
    writeFileSync(at("syntax/model.safetensors"), readFileSync(at("round.safetensors")));
    writeFileSync(at("syntax/config.json"), '{\n  "model_type": llama\n}');
    expect(await messageOf(openCheckpoint(at("syntax")))).toMatchInlineSnapshot(`
      "DIR/syntax/config.json is not JSON.
        at      DIR/syntax/config.json:2:17
        reason  a value was expected, llama was found
      fix: correct the file there; if it was fetched, fetch it again"
    `);
  });
});
