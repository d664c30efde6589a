import { existsSync } from "node:fs";
import { join } from "node:path";
import { listFiles, modelInfo } from "@huggingface/hub";
import { CheckpointError, PeftError } from "../base/errors.js";
import { writeFileAtomic } from "./atomic-write.js";
import { cachedSnapshot, hubEndpoint, hubOffline, hubToken, repoCache } from "./hub-cache.js";
import { downloadFile, type HubFile } from "./hub-download.js";
import { hubError, unreachable } from "./hub-error.js";
import { chooseFiles } from "./hub-files.js";

export interface ResolveOptions {
  /** A branch, tag or commit. @defaultValue "main" */
  readonly revision?: string | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Called as a file arrives; sizes in bytes. */
  readonly onProgress?: ((file: string, received: number, total: number) => void) | undefined;
}

/** `name` or `organisation/name`, and `:file.gguf` after either. */
const WITH_COLON = /^([\w-][\w.-]*(?:\/[\w.-]+)?)(?::([\w-][\w./-]*\.gguf))?$/;
/** `organisation/name/file.gguf`. */
const WITH_SLASH = /^([\w-][\w.-]*\/[\w.-]+)\/([\w-][\w./-]*\.gguf)$/;

interface HubId {
  readonly id: string;
  readonly gguf: string | undefined;
}

/** The Hub id in a text; undefined where the text is a path. */
function parseHubId(text: string): HubId | undefined {
  const slashed = WITH_SLASH.exec(text);
  // A file below a folder that is there is a path with a mistake further on.
  if (text.includes("..") || (slashed !== null && existsSync(text.split("/")[0]!))) return undefined;
  const [, id, gguf] = slashed ?? WITH_COLON.exec(text) ?? [];
  return id === undefined || /\.(gguf|safetensors)$/.test(id) ? undefined : { id, gguf };
}

const isHash = (text: string): boolean => /^[0-9a-f]{40,64}$/.test(text);

/** The files of a revision and its commit. Hashes become file names here, so what is none is not let in. */
async function list(
  id: string,
  revision: string,
  { signal, token }: { readonly signal: AbortSignal | undefined; readonly token: string | undefined },
): Promise<{ commit: string; files: HubFile[] }> {
  const what = `model ${id}${revision === "main" ? "" : ` with a revision ${revision}`}`;
  const common = {
    hubUrl: hubEndpoint(),
    fetch: (url: string | URL | Request, init?: RequestInit) =>
      fetch(url, { ...init, signal: signal ?? null }),
    ...(token === undefined ? {} : { accessToken: token }),
  };
  try {
    const { sha } = await modelInfo({ name: id, revision, additionalFields: ["sha"], ...common });
    const files: HubFile[] = [];
    for await (const entry of listFiles({ repo: id, revision: sha, recursive: true, ...common })) {
      if (entry.type === "file")
        files.push({ path: entry.path, size: entry.size, oid: entry.oid ?? "", sha256: entry.lfs?.oid });
    }
    if (isHash(sha) && files.every((file) => isHash(file.sha256 ?? file.oid))) return { commit: sha, files };
  } catch (error) {
    signal?.throwIfAborted();
    const status = (error as { statusCode?: number }).statusCode;
    throw status === undefined ? unreachable(what, id, error) : hubError(what, id, status);
  }
  throw new CheckpointError({
    code: "hub_failed",
    summary: `The list of files that the Hub gives for ${id} has names that are no hashes.`,
    fixes: ["check HF_ENDPOINT: it may not be a Hub"],
    fields: { id, endpoint: hubEndpoint() },
  });
}

/**
 * The local path of a model: a path that exists, or a Hub id whose files are in the cache or are fetched into it. Where the Hub
 * cannot be reached, what is in the cache is used.
 *
 * HF_HUB_CACHE, HF_HOME, HF_TOKEN, HF_ENDPOINT and HF_HUB_OFFLINE are honoured as in Python.
 *
 * @param idOrPath - a path, `organisation/name`, or one file of it: `organisation/name:file.gguf`
 * @throws {@link CheckpointError} `path_missing`, `hub_offline`, `hub_denied`, `hub_not_found`, `hub_unreachable`,
 * `hub_no_weights`, `weights_ambiguous`, `hash_mismatch`, `download_incomplete`
 * @example
 * const folder = await resolveModel("HuggingFaceTB/SmolLM2-135M-Instruct");
 */
export async function resolveModel(idOrPath: string, options: ResolveOptions = {}): Promise<string> {
  if (existsSync(idOrPath)) return idOrPath;
  const parsed = parseHubId(idOrPath);
  if (parsed === undefined) {
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
  const { id, gguf } = parsed;
  const { revision = "main", signal } = options;
  const snapshot = cachedSnapshot(id, revision);
  const cached = snapshot !== undefined && gguf !== undefined ? join(snapshot, gguf) : snapshot;
  const inCache = cached !== undefined && existsSync(cached) ? cached : undefined;
  if (hubOffline()) {
    if (inCache !== undefined) return inCache;
    throw new CheckpointError({
      code: "hub_offline",
      summary: `${idOrPath} is not in the Hub cache, and HF_HUB_OFFLINE is set.`,
      facts: [["cache", repoCache(id).snapshots]],
      fixes: ["unset HF_HUB_OFFLINE to fetch it", "give the path of a model on this machine"],
      fields: { id, revision },
    });
  }
  const token = hubToken();
  try {
    return await fetchModel(parsed, revision, token, options);
  } catch (error) {
    signal?.throwIfAborted();
    if (error instanceof PeftError && error.code === "hub_unreachable" && inCache !== undefined)
      return inCache;
    throw error;
  }
}

/** Brings the cache up to date with a revision and answers the path of the model in it. */
async function fetchModel(
  { id, gguf }: HubId,
  revision: string,
  token: string | undefined,
  options: ResolveOptions,
): Promise<string> {
  const { commit, files } = await list(id, revision, { signal: options.signal, token });
  const chosen = chooseFiles(id, files, gguf);
  const cache = repoCache(id);
  for (const file of chosen.files) {
    const path = file.path.split("/").map(encodeURIComponent).join("/");
    const url = `${hubEndpoint()}/${id}/resolve/${commit}/${path}`;
    await downloadFile(id, commit, file, cache, { url, token, ...options });
  }
  if (revision !== commit) await writeFileAtomic(join(cache.refs, revision), commit);
  const folder = join(cache.snapshots, commit);
  return chosen.gguf === undefined ? folder : join(folder, chosen.gguf);
}
