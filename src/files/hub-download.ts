import { createHash, type Hash } from "node:crypto";
import { createReadStream, existsSync } from "node:fs";
import { mkdir, open, rename, rm, stat, symlink } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { CheckpointError, type PeftError } from "../base/errors.js";
import type { RepoCache } from "./hub-cache.js";

/** A file of a repository, as the Hub lists it. */
export interface HubFile {
  readonly path: string;
  readonly size: number;
  /** Hash of git. */
  readonly oid: string;
  /** SHA-256, for files that are stored apart from git. */
  readonly sha256: string | undefined;
}

export interface DownloadOptions {
  readonly url: string;
  readonly token: string | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((file: string, received: number, total: number) => void) | undefined;
}

/** The error of an answer that is no file. */
export function hubError(id: string, status: number, what: string): PeftError {
  const denied = status === 401 || status === 403;
  return new CheckpointError({
    code: denied ? "hub_denied" : status === 404 ? "hub_not_found" : "hub_failed",
    summary: denied
      ? `The Hub does not let you read ${id}.`
      : status === 404
        ? `The Hub has no ${what} of ${id}.`
        : `The Hub answered ${status} for ${what} of ${id}.`,
    fixes: denied
      ? [`ask for access on the page of ${id}, and set HF_TOKEN to a token of yours`]
      : status === 404
        ? ["check the spelling: organisation/name; a folder on this machine is given by its path"]
        : ["try again later"],
    fields: { id, status },
  });
}

/** A hash that begins as the Hub's does: SHA-256 of the bytes, or git's SHA-1 with its header. */
function startHash(file: HubFile): Hash {
  if (file.sha256 !== undefined) return createHash("sha256");
  return createHash("sha1").update(`blob ${file.size}\0`);
}

async function hashFile(path: string, hash: Hash): Promise<void> {
  for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer);
}

/** Fetches a file into the blobs of the cache, going on where an earlier try broke off, and checks its hash. */
async function fetchBlob(id: string, file: HubFile, blob: string, options: DownloadOptions): Promise<void> {
  const partial = `${blob}.incomplete`;
  const hash = startHash(file);
  let received = (await stat(partial).catch(() => undefined))?.size ?? 0;
  if (received > file.size) {
    await rm(partial, { force: true });
    received = 0;
  }
  if (received > 0) await hashFile(partial, hash);
  if (received < file.size || file.size === 0) {
    const headers: Record<string, string> =
      options.token === undefined ? {} : { authorization: `Bearer ${options.token}` };
    if (received > 0) headers["range"] = `bytes=${received}-`;
    const response = await fetch(options.url, { headers, ...(options.signal && { signal: options.signal }) });
    if (!response.ok || response.body === null) throw hubError(id, response.status, file.path);
    const resumed = response.status === 206;
    const handle = await open(partial, resumed ? "a" : "w");
    const whole = resumed ? hash : startHash(file);
    if (!resumed) received = 0;
    try {
      for await (const chunk of response.body) {
        await handle.write(chunk);
        whole.update(chunk);
        received += chunk.length;
        options.onProgress?.(file.path, received, file.size);
      }
      await handle.sync();
    } finally {
      await handle.close();
    }
    await accept(id, file, whole, partial, blob, received);
    return;
  }
  await accept(id, file, hash, partial, blob, received);
}

async function accept(
  id: string,
  file: HubFile,
  hash: Hash,
  partial: string,
  blob: string,
  received: number,
): Promise<void> {
  const expected = file.sha256 ?? file.oid;
  const got = hash.digest("hex");
  if (received < file.size) {
    throw new CheckpointError({
      code: "download_incomplete",
      summary: `The download of ${file.path} of ${id} broke off at ${received} of ${file.size} bytes.`,
      fixes: ["run the command again: it goes on from there"],
      fields: { id, path: file.path, received, size: file.size },
    });
  }
  if (got !== expected) {
    await rm(partial, { force: true });
    throw new CheckpointError({
      code: "hash_mismatch",
      summary: `${file.path} of ${id} arrived damaged: its hash is not the one the Hub lists.`,
      facts: [
        ["expected", expected],
        ["got", got],
      ],
      fixes: ["run the command again: the file is fetched anew"],
      fields: { id, path: file.path, expected, got },
    });
  }
  await rename(partial, blob);
}

/** Puts a file of a commit into the cache, unless it is there, and answers its path in the snapshot. */
export async function downloadFile(
  id: string,
  commit: string,
  file: HubFile,
  cache: RepoCache,
  options: DownloadOptions,
): Promise<string> {
  const blob = join(cache.blobs, file.sha256 ?? file.oid);
  const place = join(cache.snapshots, commit, file.path);
  if (existsSync(place)) return place;
  await mkdir(cache.blobs, { recursive: true });
  if (!existsSync(blob)) await fetchBlob(id, file, blob, options);
  await mkdir(dirname(place), { recursive: true });
  await symlink(relative(dirname(place), blob), place);
  return place;
}
