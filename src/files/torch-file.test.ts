import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { fixturesFolder } from "../../test/support/fixture.js";
import { openTorchFile } from "./torch-file.js";
import { readTorchPickle } from "./torch-pickle.js";

const folder = mkdtempSync(join(tmpdir(), "peft-torch-"));
afterAll(() => rmSync(folder, { recursive: true }));
const saved = join(fixturesFolder, "adapterhub/bert/norms/adapter/pytorch_adapter.bin");

const errorOf = (path: string): Promise<string> =>
  openTorchFile(path).then(
    () => "it was taken",
    (error: unknown) => (error as Error).message.replaceAll(folder, "FOLDER"),
  );

test("tensors of torch.save, with their shapes", async () => {
  const file = await openTorchFile(saved);
  const name = "encoder.layer.0.output.adapters.task.adapter_down.1.weight";
  expect(file.tensors.get(name)).toMatchObject({ dtype: "float32", shape: [4, 16], byteLength: 256 });
  const { data, dims } = file.read(name);
  expect(dims).toEqual([4, 16]);
  expect([...(data as Float32Array)].every((value) => Number.isFinite(value) && Math.abs(value) < 2)).toBe(
    true,
  );
});

test("what was cut off is an error wherever it was cut", async () => {
  const bytes = readFileSync(saved);
  for (let length = 0; length < bytes.length; length += 211) {
    const path = join(folder, "cut.bin");
    writeFileSync(path, bytes.subarray(0, length));
    expect(await errorOf(path)).toMatch(/cannot be read as/);
  }
  for (const garbage of ["", "PK", "{}"]) {
    writeFileSync(join(folder, "short.bin"), garbage);
    expect(await errorOf(join(folder, "short.bin"))).toMatch(/cannot be read as/);
  }
});

/** What a pickle of these opcodes is answered with. */
const pickleError = (text: string): string => {
  try {
    readTorchPickle(new TextEncoder().encode(text), "evil.bin");
    return "it was taken";
  } catch (error) {
    return (error as Error).message;
  }
};

test("a pickle that calls something is refused before anything is called", () => {
  expect(pickleError("cos\nsystem\n(X\u0004\u0000\u0000\u0000evilt\u0052.")).toMatchInlineSnapshot(`
    "evil.bin holds more than tensors: it calls os.system. Nothing in it was run.
    fix: save it again with Python as safetensors: save_adapter(folder, name, use_safetensors=True)"
  `);
  expect(pickleError("(}")).toMatchInlineSnapshot(`
    "evil.bin holds more than tensors: it breaks off. Nothing in it was run.
    fix: save it again with Python as safetensors: save_adapter(folder, name, use_safetensors=True)"
  `);
  expect(pickleError("K\u0001.")).toMatchInlineSnapshot(`
    "evil.bin holds more than tensors: it is no dictionary of tensors. Nothing in it was run.
    fix: save it again with Python as safetensors: save_adapter(folder, name, use_safetensors=True)"
  `);
  expect(pickleError("")).toContain("it breaks off");
});
