import { createHash } from "node:crypto";
import { existsSync, lstatSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { resolveModel } from "./hub.js";

// A Hub on this machine: one repository, with what the real one answers.
const COMMIT = "0123456789abcdef0123456789abcdef01234567";
const weights = Buffer.from("weights ".repeat(1000));
const config = Buffer.from('{"model_type":"llama"}');
const sha1 = (data: Buffer): string =>
  createHash("sha1").update(`blob ${data.length}\0`).update(data).digest("hex");
const sha256 = (data: Buffer): string => createHash("sha256").update(data).digest("hex");

const state = {
  cutAfter: Infinity,
  damaged: false,
  dropOnceAfter: Infinity,
  oid: "f".repeat(40),
  requests: [] as { url: string; range: string | undefined; auth: string | undefined }[],
};
let server: Server;
let folder: string;
const saved = { ...process.env };

beforeAll(async () => {
  server = createServer((request, response) => {
    const url = request.url ?? "";
    state.requests.push({ url, range: request.headers.range, auth: request.headers.authorization });
    const json = (value: unknown): void =>
      void response.setHeader("content-type", "application/json").end(JSON.stringify(value));
    if (url.startsWith("/api/models/org/quant/tree/") || url.startsWith("/api/models/org/pickle/tree/")) {
      const names = url.includes("quant")
        ? ["Q4_0.gguf", "sub/Q8_0.gguf", "README.md"]
        : ["pytorch_model.bin"];
      return json(names.map((path) => ({ type: "file", path, size: weights.length, oid: sha1(weights) })));
    }
    if (/^\/api\/models\/org\/(quant|pickle)/.test(url))
      return json({ _id: "1", id: "org/other", modelId: "org/other", sha: COMMIT });
    if (url.startsWith("/api/models/org/secret")) return void response.writeHead(401).end("{}");
    if (url.startsWith("/api/models/org/tiny/tree/")) {
      const lfs = { oid: sha256(weights), size: weights.length, pointerSize: 100 };
      return json([
        { type: "file", path: "config.json", size: config.length, oid: sha1(config) },
        {
          type: "file",
          path: "model.safetensors",
          size: weights.length,
          oid: state.oid,
          lfs: state.oid === "../x" ? undefined : lfs,
        },
        { type: "file", path: "pytorch_model.bin", size: 5, oid: "e".repeat(40) },
      ]);
    }
    if (url.startsWith("/api/models/org/tiny"))
      return json({ _id: "1", id: "org/tiny", modelId: "org/tiny", sha: COMMIT });
    const file = url.endsWith("config.json")
      ? config
      : url.endsWith("model.safetensors") || url.endsWith(".gguf")
        ? weights
        : undefined;
    if (file === undefined) return void response.writeHead(404).end("{}");
    const start = Number(/bytes=(\d+)-/.exec(request.headers.range ?? "")?.[1] ?? 0);
    const body = Buffer.from(file.subarray(start, state.cutAfter));
    if (state.damaged && file === weights) body[0]! ^= 1;
    if (file === weights && state.dropOnceAfter < weights.length) {
      const part = body.subarray(0, state.dropOnceAfter);
      state.dropOnceAfter = Infinity;
      response.writeHead(200, { "content-length": body.length }).write(part, () => response.destroy());
      return;
    }
    response.writeHead(start > 0 ? 206 : 200).end(body);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
});
afterAll(() => void server.close());

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "peft-hub-"));
  Object.assign(state, {
    cutAfter: Infinity,
    damaged: false,
    dropOnceAfter: Infinity,
    oid: "f".repeat(40),
    requests: [],
  });
  const { port } = server.address() as AddressInfo;
  Object.assign(process.env, {
    HF_ENDPOINT: `http://127.0.0.1:${port}`,
    HF_HUB_CACHE: folder,
    HF_TOKEN: "hf_secret",
    HF_HUB_OFFLINE: "",
    TRANSFORMERS_OFFLINE: "",
  });
});
afterEach(() => {
  rmSync(folder, { recursive: true });
  process.env = { ...saved };
});

const messageOf = async (work: Promise<unknown>): Promise<string> =>
  work.then(
    () => "it worked",
    (error: unknown) => (error as Error).message.replaceAll(folder, "CACHE"),
  );

describe("the Hub cache", () => {
  test("fetches what a model needs, laid out as Python does, with the token, and once", async () => {
    const path = await resolveModel("org/tiny");
    expect(path).toBe(join(folder, "models--org--tiny/snapshots", COMMIT));
    expect(readFileSync(join(path, "model.safetensors")).equals(weights)).toBe(true);
    expect(lstatSync(join(path, "model.safetensors")).isSymbolicLink()).toBe(true);
    expect(existsSync(join(folder, "models--org--tiny/blobs", sha256(weights)))).toBe(true);
    expect(existsSync(join(path, "pytorch_model.bin"))).toBe(false);
    expect(readFileSync(join(folder, "models--org--tiny/refs/main"), "utf8")).toBe(COMMIT);
    expect(state.requests.every(({ auth }) => auth === "Bearer hf_secret")).toBe(true);
    state.requests = [];
    expect(await resolveModel("org/tiny")).toBe(path);
    expect(state.requests.filter(({ url }) => url.includes("/resolve/"))).toEqual([]);
  });

  test("goes on where a download broke off", async () => {
    state.cutAfter = 3000;
    expect(await messageOf(resolveModel("org/tiny"))).toMatchInlineSnapshot(`
      "The download of model.safetensors of org/tiny broke off at 3000 of 8000 bytes.
      fix: run the command again: it goes on from there"
    `);
    state.cutAfter = Infinity;
    const path = await resolveModel("org/tiny");
    expect(readFileSync(join(path, "model.safetensors")).equals(weights)).toBe(true);
    expect(state.requests.some(({ range }) => range === "bytes=3000-")).toBe(true);
  });

  test("asks again by itself where the connection breaks", async () => {
    state.dropOnceAfter = 5000;
    const path = await resolveModel("org/tiny");
    expect(readFileSync(join(path, "model.safetensors")).equals(weights)).toBe(true);
    expect(state.requests.filter(({ url }) => url.endsWith("model.safetensors"))).toHaveLength(2);
  });

  test("stops at the signal and keeps what has arrived", async () => {
    const controller = new AbortController();
    const onProgress = (file: string): void => {
      if (file === "model.safetensors") controller.abort();
    };
    await expect(resolveModel("org/tiny", { signal: controller.signal, onProgress })).rejects.toThrow(
      /abort/,
    );
    expect(existsSync(join(folder, "models--org--tiny/blobs", `${sha256(weights)}.incomplete`))).toBe(true);
    expect(await messageOf(resolveModel("org/tiny"))).toBe("it worked");
  });

  test("takes one GGUF file of a repository, named in either way", async () => {
    const snapshot = join(folder, "models--org--quant/snapshots", COMMIT);
    expect(await resolveModel("org/quant:sub/Q8_0.gguf")).toBe(join(snapshot, "sub/Q8_0.gguf"));
    expect(await resolveModel("org/quant/Q4_0.gguf")).toBe(join(snapshot, "Q4_0.gguf"));
    expect(readFileSync(join(snapshot, "sub/Q8_0.gguf")).equals(weights)).toBe(true);
    expect(await messageOf(resolveModel("org/quant"))).toMatchInlineSnapshot(`
      "org/quant holds 2 GGUF files.
        files  Q4_0.gguf
               sub/Q8_0.gguf
      fix: name one of them: org/quant:Q4_0.gguf"
    `);
    expect(await messageOf(resolveModel("org/quant:Q2_K.gguf"))).toMatchInlineSnapshot(`
      "org/quant holds no file Q2_K.gguf.
        holds  Q4_0.gguf
               sub/Q8_0.gguf
      fix: name one of them: org/quant:Q4_0.gguf"
    `);
  });

  test("says what a repository holds that cannot be read", async () => {
    expect(await messageOf(resolveModel("org/pickle"))).toMatchInlineSnapshot(`
      "org/pickle holds no weights that can be read: neither safetensors nor GGUF.
        holds  pytorch_model.bin
      fix: convert it with Python's transformers: save_pretrained(folder), and give that folder"
    `);
  });

  test("lets no name out of the cache folder", async () => {
    state.oid = "../x";
    expect(await messageOf(resolveModel("org/tiny"))).toContain("names that are no hashes");
  });

  test("uses the cache where the Hub cannot be reached", async () => {
    const path = await resolveModel("org/tiny");
    process.env["HF_ENDPOINT"] = "http://127.0.0.1:9";
    expect(await resolveModel("org/tiny")).toBe(path);
  });

  test("refuses a file whose hash is wrong, and keeps nothing of it", async () => {
    state.damaged = true;
    const message = await messageOf(resolveModel("org/tiny"));
    expect(message).toContain("model.safetensors of org/tiny arrived damaged");
    expect(message).toContain(sha256(weights));
    state.damaged = false;
    expect(await messageOf(resolveModel("org/tiny"))).toBe("it worked");
  });

  test("offline: the cache or an error", async () => {
    process.env["HF_HUB_OFFLINE"] = "1";
    expect(await messageOf(resolveModel("org/tiny"))).toMatchInlineSnapshot(`
      "org/tiny is not in the Hub cache, and HF_HUB_OFFLINE is set.
        cache  CACHE/models--org--tiny/snapshots
      fix: unset HF_HUB_OFFLINE to fetch it
       or: give the path of a model on this machine"
    `);
    process.env["HF_HUB_OFFLINE"] = "0";
    const path = await resolveModel("org/tiny");
    process.env["HF_HUB_OFFLINE"] = "1";
    state.requests = [];
    expect(await resolveModel("org/tiny")).toBe(path);
    expect(state.requests).toEqual([]);
  });

  test("no access, nothing there, no server", async () => {
    expect(await messageOf(resolveModel("org/secret"))).toMatchInlineSnapshot(`
      "The Hub does not let you read model org/secret.
      fix: check the spelling: the Hub answers so for names that do not exist, too
       or: ask for access on the page of org/secret, and set HF_TOKEN to a token of yours"
    `);
    expect(await messageOf(resolveModel("org/other"))).toMatchInlineSnapshot(`
      "The Hub has no model org/other.
      fix: check the spelling: organisation/name; a folder on this machine is given by its path"
    `);
    process.env["HF_ENDPOINT"] = "http://127.0.0.1:9";
    expect(await messageOf(resolveModel("org/tiny"))).toContain(
      "The Hub could not be reached for model org/tiny",
    );
  });

  test("a path on this machine wins, and a path that is not there is no id", async () => {
    mkdirSync(join(folder, "model"));
    writeFileSync(join(folder, "model/config.json"), "{}");
    expect(await resolveModel(join(folder, "model"))).toBe(join(folder, "model"));
    expect(await messageOf(resolveModel(join(folder, "nothing")))).toMatchInlineSnapshot(`
      "There is no model at CACHE/nothing.
      fix: check the path; a model is a folder with config.json, or a .gguf file
       or: give a Hub id: organisation/name"
    `);
    expect(await messageOf(resolveModel("src/files/missing.gguf"))).toContain("There is no model at src/");
    expect(state.requests).toEqual([]);
  });
});
