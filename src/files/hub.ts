import { existsSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { listFiles, modelInfo } from "@huggingface/hub";
import { CheckpointError } from "../base/errors.js";
import { writeFileAtomic } from "./atomic-write.js";
import { cachedSnapshot, hubOffline, hubToken, repoCache } from "./hub-cache.js";
import { downloadFile, hubError, type HubFile } from "./hub-download.js";

export interface ResolveOptions {
  readonly revision?: string | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((file: string, received: number, total: number) => void) | undefined;
}

/** `name`, `organisation/name`, or either followed by `:file.gguf`. */
const HUB_ID = /^([\w.-]+(?:\/[\w.-]+)?)(?::([\w./-]+\.gguf))?$/;

const SMALL =
  /^(config|generation_config|adapter_config|tokenizer|tokenizer_config|special_tokens_map)\.json$|^chat_template\.jinja$/;

/** The files of a repository that a model or an adapter needs. */
function wanted(files: readonly HubFile[], gguf: string | undefined): HubFile[] {
  if (gguf !== undefined) return files.filter(({ path }) => path === gguf);
  const safetensors = files.filter(({ path }) =>
    /^(model|adapter_model)[^/]*\.safetensors(\.index\.json)?$/.test(path),
  );
  return files.filter((file) => SMALL.test(file.path) || safetensors.includes(file));
}

async function list(
  id: string,
  revision: string,
  hubUrl: string,
  token: string | undefined,
): Promise<{ commit: string; files: HubFile[] }> {
  const access = token === undefined ? {} : { accessToken: token };
  try {
    const { sha } = await modelInfo({ name: id, revision, hubUrl, additionalFields: ["sha"], ...access });
    const files: HubFile[] = [];
    for await (const entry of listFiles({ repo: id, revision: sha, hubUrl, recursive: true, ...access })) {
      if (entry.type === "file")
        files.push({ path: entry.path, size: entry.size, oid: entry.oid ?? "", sha256: entry.lfs?.oid });
    }
    return { commit: sha, files };
  } catch (error) {
    const status = (error as { statusCode?: number }).statusCode;
    if (status !== undefined) throw hubError(id, status, "such model");
    throw new CheckpointError({
      code: "hub_unreachable",
      summary: `The Hub could not be reached for ${id}: ${(error as Error).message}.`,
      fixes: ["check the network", "give the path of a model on this machine"],
      fields: { id },
      cause: error,
    });
  }
}

/** Whether a text looks like a path rather than a Hub id. */
const looksLikePath = (text: string): boolean => /^[./~]|\\|\.(gguf|safetensors)$/.test(text);

/**
 * The local path of a model: a path that exists, or a Hub id whose files are in the cache or are fetched into it.
 *
 * HF_HUB_CACHE, HF_HOME, HF_TOKEN, HF_ENDPOINT and HF_HUB_OFFLINE are honoured as in Python.
 *
 * @throws {@link CheckpointError} `path_missing`, `hub_offline`, `hub_denied`, `hub_not_found`, `hash_mismatch` …
 */
export async function resolveModel(idOrPath: string, options: ResolveOptions = {}): Promise<string> {
  if (existsSync(idOrPath)) return idOrPath;
  const match = HUB_ID.exec(idOrPath);
  if (match === null || looksLikePath(idOrPath)) {
    throw new CheckpointError({
      code: "path_missing",
      summary: `There is no model at ${idOrPath}.`,
      fixes: [
        "check the path; a model is a folder with config.json, or a .gguf file",
        "give a Hub id: organisation/name",
      ],
      fields: { path: idOrPath },
    });
  }
  const [, id = "", gguf] = match;
  const { revision = "main" } = options;
  const cached = cachedSnapshot(id, revision);
  const complete = (folder: string): string => (gguf === undefined ? folder : join(folder, gguf));
  if (hubOffline()) {
    if (cached !== undefined && existsSync(complete(cached))) return complete(cached);
    throw new CheckpointError({
      code: "hub_offline",
      summary: `${idOrPath} is not in the Hub cache, and HF_HUB_OFFLINE is set.`,
      facts: [["cache", repoCache(id).snapshots]],
      fixes: ["unset HF_HUB_OFFLINE to fetch it", "give the path of a model on this machine"],
      fields: { id, revision },
    });
  }
  const hubUrl = process.env["HF_ENDPOINT"] ?? "https://huggingface.co";
  const token = hubToken();
  const { commit, files } = await list(id, revision, hubUrl, token);
  const cache = repoCache(id);
  const chosen = wanted(files, gguf);
  if (chosen.length === 0) throw hubError(id, 404, gguf ?? "weights");
  for (const file of chosen) {
    const url = `${hubUrl}/${id}/resolve/${commit}/${file.path}`;
    await downloadFile(id, commit, file, cache, { url, token, ...options });
  }
  await mkdir(cache.refs, { recursive: true });
  await writeFileAtomic(join(cache.refs, revision), commit);
  return complete(join(cache.snapshots, commit));
}
