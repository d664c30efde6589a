import { existsSync } from "node:fs";
import { readdir, readFile, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { CheckpointError } from "../base/errors.js";
import { firstFew } from "../base/first-few.js";
import type { HostTensor } from "../base/host-tensor.js";
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
  const files = [...new Set(Object.values((index["weight_map"] ?? {}) as Record<string, string>))];
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
    for (const file of files) open.push(await openSafetensors(join(folder, basename(file))));
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
  const chatTemplate = existsSync(templatePath) ? await readFile(templatePath, "utf8") : undefined;
  return { tokenizer, config, chatTemplate };
}

async function openFolder(folder: string): Promise<Checkpoint> {
  const names = await readdir(folder);
  const sharded = names.includes("model.safetensors.index.json");
  if (!sharded && !names.includes("model.safetensors")) {
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
  const files = sharded
    ? await openShards(folder)
    : [await openSafetensors(join(folder, "model.safetensors"))];
  const home = new Map(
    files.flatMap((file) => [...file.tensors.keys()].map((name) => [name, file] as const)),
  );
  return {
    path: folder,
    format: "safetensors",
    names: () => [...home.keys()],
    describe(name) {
      const { dtype, shape } = home.get(name)!.tensors.get(name)!;
      return { dtype, shape, storedAs: dtype };
    },
    read: (name) => home.get(name)!.read(name),
    config: () => config,
    tokenizerFiles: () => tokenizerFiles,
    generationConfig: () => generationConfig,
    close() {
      for (const file of files) file.close();
    },
  };
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
  if (path.endsWith(".safetensors")) return openFolder(dirname(path));
  throw notFound(path, "weights_unknown", `${path} is no weight file that can be read.`, [
    "give a .gguf file, or a folder with config.json and model.safetensors",
  ]);
}
