import { existsSync } from "node:fs";
import { readdir, readFile, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { CheckpointError } from "../base/errors.js";
import { firstFew } from "../base/first-few.js";
import type { StoredCodes } from "../base/coded-matrix.js";
import type { HostTensor } from "../base/host-tensor.js";
import type { StoredBlocks } from "../base/packed-matrix.js";
import { withBnbCodes } from "./bnb-checkpoint.js";
import { findTensor } from "./find-tensor.js";
import { openGguf } from "./gguf.js";
import { readJsonObject } from "./json-file.js";
import { openSafetensors, type SafetensorsFile } from "./safetensors.js";

/** The contents of the files that make a tokenizer. */
export interface TokenizerFiles {
  /** `tokenizer.json`. */
  readonly tokenizer: Record<string, unknown>;
  /** `tokenizer_config.json`. */
  readonly config: Record<string, unknown>;
  /** `chat_template.jinja`, where there is one. */
  readonly chatTemplate?: string | undefined;
}

/** Weights, config and tokenizer, wherever they come from. Tensor names are Hugging Face's. */
export interface Checkpoint {
  readonly path: string;
  readonly format: "safetensors" | "gguf";
  names(): string[];
  /** Element type in memory, and sizes. */
  describe(name: string): {
    readonly dtype: string;
    readonly shape: readonly number[];
    readonly storedAs: string;
  };
  read(name: string): HostTensor;
  /** Lets go of memory that a tensor was read into; it is read again when it is needed. */
  forget?(name: string): void;
  /** The same as `read`, into memory of the caller; undefined where tensors are read in place. */
  decode?(name: string, out: Float32Array): void;
  /** How a matrix is kept in blocks that products can use as they are; undefined for all other tensors. */
  packed?(name: string): StoredBlocks | undefined;
  /** The codes of a matrix that is to stay in them; undefined for all other tensors. */
  coded?(name: string): StoredCodes | undefined;
  /** The contents of `config.json`. */
  config(): Record<string, unknown>;
  tokenizerFiles(): TokenizerFiles | undefined;
  /** The contents of `generation_config.json`. */
  generationConfig(): Record<string, unknown> | undefined;
  close(): void;
}

function notFound(path: string, code: string, summary: string, fixes: readonly string[]): CheckpointError {
  return new CheckpointError({ code, summary, fixes, fields: { path } });
}

/** Opens all shards that an index names; absent ones are reported together. */
async function openShards(folder: string): Promise<SafetensorsFile[]> {
  const indexPath = join(folder, "model.safetensors.index.json");
  const index = await readJsonObject(indexPath);
  const map = Object.entries((index["weight_map"] ?? {}) as Record<string, unknown>);
  // Shards lie beside their index: a name that leads elsewhere is not followed.
  const files = [...new Set(map.map(([, file]) => basename(String(file))))];
  const absent = files.filter((file) => !existsSync(join(folder, file)));
  if (absent.length > 0 || files.length === 0) {
    throw new CheckpointError({
      code: "shard_missing",
      summary: `${folder} lacks ${absent.length} of the ${files.length} files that its index names.`,
      facts: [["missing", firstFew(absent)]],
      fixes: ["fetch the missing files again"],
      fields: { folder, absent },
    });
  }
  const open: SafetensorsFile[] = [];
  try {
    for (const file of files) open.push(await openSafetensors(join(folder, file)));
    const held = new Set(open.flatMap(({ tensors }) => [...tensors.keys()]));
    const lost = map.filter(([name]) => !held.has(name)).map(([name, file]) => `${name}  in ${String(file)}`);
    if (lost.length > 0) {
      throw new CheckpointError({
        code: "index_lies",
        summary: `The index of ${folder} names ${lost.length === 1 ? "a tensor" : `${lost.length} tensors`} that its files do not hold.`,
        facts: [["missing", firstFew(lost)]],
        fixes: ["fetch the model again: the index and the files are of different versions"],
        fields: { folder, lost: lost.length },
      });
    }
  } catch (error) {
    for (const file of open) file.close();
    throw error;
  }
  return open;
}

async function optionalJson(path: string): Promise<Record<string, unknown> | undefined> {
  return existsSync(path) ? readJsonObject(path) : undefined;
}

async function readTokenizerFiles(folder: string): Promise<TokenizerFiles | undefined> {
  const tokenizer = await optionalJson(join(folder, "tokenizer.json"));
  if (tokenizer === undefined) return undefined;
  const config = (await optionalJson(join(folder, "tokenizer_config.json"))) ?? {};
  const templatePath = join(folder, "chat_template.jinja");
  const inJson = (await optionalJson(join(folder, "chat_template.json")))?.["chat_template"];
  const chatTemplate = existsSync(templatePath)
    ? await readFile(templatePath, "utf8")
    : typeof inJson === "string"
      ? inJson
      : undefined;
  return { tokenizer, config, chatTemplate };
}

/** Opens a folder; `only` is the one file of weights to be read, where a file was named and not the folder. */
async function openFolder(folder: string, only?: string): Promise<Checkpoint> {
  const names = await readdir(folder);
  const sharded = only === undefined && names.includes("model.safetensors.index.json");
  const single = only ?? "model.safetensors";
  if (!sharded && !names.includes(single)) {
    const gguf = names.filter((name) => name.endsWith(".gguf"));
    if (gguf.length === 1) return openGguf(join(folder, gguf[0]!));
    const other = names.filter((name) => /\.(bin|pt|pth|h5|onnx)$/.test(name));
    if (gguf.length > 1) {
      throw notFound(
        folder,
        "weights_ambiguous",
        `${folder} holds ${gguf.length} GGUF files: ${gguf.join(", ")}.`,
        [`name one of them: ${join(folder, gguf[0]!)}`],
      );
    }
    if (names.includes("adapter_config.json")) {
      throw notFound(folder, "weights_missing", `${folder} holds an adapter, not a model.`, [
        `load the base model first, then this folder as its adapter (--adapter ${folder})`,
      ]);
    }
    throw notFound(
      folder,
      "weights_missing",
      `${folder} holds no weights: neither model.safetensors, nor its index, nor a .gguf file.`,
      other.length > 0
        ? [`convert ${other[0]} to safetensors with Python's transformers: save_pretrained(folder)`]
        : ["give the folder or file that holds the weights"],
    );
  }
  if (!names.includes("config.json")) {
    throw notFound(folder, "config_missing", `${folder} holds weights and no config.json.`, [
      "put the model's config.json beside them",
    ]);
  }
  const [config, generationConfig, tokenizerFiles] = await Promise.all([
    readJsonObject(join(folder, "config.json")),
    optionalJson(join(folder, "generation_config.json")),
    readTokenizerFiles(folder),
  ]);
  const files = sharded ? await openShards(folder) : [await openSafetensors(join(folder, single))];
  const home = new Map(
    files.flatMap((file) => [...file.tensors.keys()].map((name) => [name, file] as const)),
  );
  const checkpoint: Checkpoint = {
    path: folder,
    format: "safetensors",
    names: () => [...home.keys()],
    describe(name) {
      const { dtype, shape } = findTensor(findTensor(home, name, folder).tensors, name, folder);
      return { dtype, shape, storedAs: dtype };
    },
    read: (name) => findTensor(home, name, folder).read(name),
    forget: (name) => findTensor(home, name, folder).forget(name),
    config: () => config,
    tokenizerFiles: () => tokenizerFiles,
    generationConfig: () => generationConfig,
    close() {
      for (const file of files) file.close();
    },
  };
  try {
    return withBnbCodes(checkpoint);
  } catch (error) {
    checkpoint.close();
    throw error;
  }
}

/**
 * Opens the weights at a path: a Hugging Face folder (one safetensors file, or shards with their index), a `.gguf` file, or a
 * folder with exactly one of those. Only headers are read.
 *
 * @throws {@link CheckpointError} naming what is absent or damaged
 */
export async function openCheckpoint(path: string): Promise<Checkpoint> {
  const info = await stat(path).catch(() => undefined);
  if (info === undefined) {
    throw notFound(path, "path_missing", `There is nothing at ${path}.`, [
      "check the path; a model is a folder with config.json, or a .gguf file",
    ]);
  }
  if (info.isDirectory()) return openFolder(path);
  if (path.endsWith(".gguf")) return openGguf(path);
  // One shard of several stands for all of them.
  if (/-\d{5}-of-\d{5}\.safetensors$/.test(path)) return openFolder(dirname(path));
  if (path.endsWith(".safetensors")) return openFolder(dirname(path), basename(path));
  throw notFound(path, "weights_unknown", `${path} is no weight file that can be read.`, [
    "give a .gguf file, or a folder with config.json and model.safetensors",
  ]);
}
