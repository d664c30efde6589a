import { existsSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";

/** Where Hugging Face keeps what it keeps: HF_HOME, else ~/.cache/huggingface. */
function homeFolder(env: NodeJS.ProcessEnv): string {
  return env["HF_HOME"] || join(env["XDG_CACHE_HOME"] || join(homedir(), ".cache"), "huggingface");
}

/** Where the Hub cache is: HF_HUB_CACHE, else HF_HOME/hub, else ~/.cache/huggingface/hub. */
export function hubCacheFolder(env: NodeJS.ProcessEnv = process.env): string {
  return env["HF_HUB_CACHE"] || join(homeFolder(env), "hub");
}

/** Whether the network must not be used. */
export function hubOffline(env: NodeJS.ProcessEnv = process.env): boolean {
  return /^(1|true|yes|on)$/i.test(env["HF_HUB_OFFLINE"] || env["TRANSFORMERS_OFFLINE"] || "");
}

/** Where the Hub is: HF_ENDPOINT, else huggingface.co. */
export function hubEndpoint(env: NodeJS.ProcessEnv = process.env): string {
  return (env["HF_ENDPOINT"] || "https://huggingface.co").replace(/\/+$/, "");
}

/** The access token: HF_TOKEN, else the file that Python's login leaves. */
export function hubToken(env: NodeJS.ProcessEnv = process.env): string | undefined {
  if (env["HF_TOKEN"]) return env["HF_TOKEN"].trim();
  const file = env["HF_TOKEN_PATH"] || join(homeFolder(env), "token");
  return existsSync(file) ? readFileSync(file, "utf8").trim() || undefined : undefined;
}

/** Folders of one repository in the cache, laid out as Python's huggingface_hub does. */
export interface RepoCache {
  readonly blobs: string;
  readonly snapshots: string;
  readonly refs: string;
}

export function repoCache(id: string, env: NodeJS.ProcessEnv = process.env): RepoCache {
  const root = join(hubCacheFolder(env), `models--${id.replaceAll("/", "--")}`);
  return { blobs: join(root, "blobs"), snapshots: join(root, "snapshots"), refs: join(root, "refs") };
}

/** The snapshot folder of a revision that is in the cache: a branch or tag by its ref, a commit by its name. */
export function cachedSnapshot(
  id: string,
  revision: string,
  env: NodeJS.ProcessEnv = process.env,
): string | undefined {
  const { refs, snapshots } = repoCache(id, env);
  const ref = join(refs, revision);
  const commit = existsSync(ref) ? readFileSync(ref, "utf8").trim() : revision;
  const folder = join(snapshots, commit);
  return existsSync(folder) ? folder : undefined;
}
