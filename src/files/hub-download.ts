import { createHash, type Hash } from "node:crypto";
import { createReadStream, existsSync } from "node:fs";
import { copyFile, mkdir, open, rename, rm, stat, symlink } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { CheckpointError, PeftError } from "../base/errors.js";
import { writeError } from "./atomic-write.js";
import type { RepoCache } from "./hub-cache.js";
import { hubError, unreachable } from "./hub-error.js";

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

/** Attempts in a row that bring nothing new. */
const ATTEMPTS = 3;
const FIRST_PAUSE_MS = 200;

/** A hash that begins as the Hub's does: SHA-256 of the bytes, or git's SHA-1 with its header. */
function startHash(file: HubFile): Hash {
  if (file.sha256 !== undefined) return createHash("sha256");
  return createHash("sha1").update(`blob ${file.size}\0`);
}

/** What has arrived of a file so far. */
interface Arrived {
  bytes: number;
  hash: Hash;
}

/** What an earlier try has left. */
async function findArrived(file: HubFile, partial: string): Promise<Arrived> {
  const arrived = { bytes: 0, hash: startHash(file) };
  const size = (await stat(partial).catch(() => undefined))?.size ?? 0;
  if (size === 0 || size > file.size) return arrived;
  for await (const chunk of createReadStream(partial)) arrived.hash.update(chunk as Buffer);
  arrived.bytes = size;
  return arrived;
}

/** One request for what is missing; it may break off. */
async function receive(
  id: string,
  file: HubFile,
  partial: string,
  arrived: Arrived,
  { url, token, signal, onProgress }: DownloadOptions,
): Promise<void> {
  // A compressed answer would have other byte positions than the file.
  const headers: Record<string, string> = { "accept-encoding": "identity" };
  if (token !== undefined) headers["authorization"] = `Bearer ${token}`;
  if (arrived.bytes > 0) headers["range"] = `bytes=${arrived.bytes}-`;
  const response = await fetch(url, { headers, ...(signal && { signal }) });
  if (!response.ok || response.body === null) {
    await response.body?.cancel();
    throw hubError(`file ${file.path} of ${id}`, id, response.status);
  }
  if (response.status !== 206) Object.assign(arrived, { bytes: 0, hash: startHash(file) });
  const handle = await open(partial, arrived.bytes > 0 ? "a" : "w").catch((error: unknown) => {
    throw writeError(partial, error);
  });
  try {
    for await (const chunk of response.body as AsyncIterable<Uint8Array>) {
      if (arrived.bytes + chunk.length > file.size) throw damaged(id, file, "a longer file");
      for (let at = 0; at < chunk.length;) {
        const { bytesWritten } = await handle.write(chunk, at).catch((error: unknown) => {
          throw writeError(partial, error);
        });
        at += bytesWritten;
      }
      arrived.hash.update(chunk);
      arrived.bytes += chunk.length;
      onProgress?.(file.path, arrived.bytes, file.size);
    }
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Whether asking once more may help: not where the Hub or the disk has said no. */
const passing = (error: unknown): boolean =>
  error instanceof PeftError
    ? error.code === "hub_failed"
    : (error as NodeJS.ErrnoException).name === "TypeError";

/** Fetches a file into the blobs of the cache, going on where an earlier try broke off, and checks its hash. */
async function fetchBlob(id: string, file: HubFile, blob: string, options: DownloadOptions): Promise<void> {
  const partial = `${blob}.incomplete`;
  const arrived = await findArrived(file, partial);
  let failure: unknown;
  let most = arrived.bytes;
  for (let idle = 0; idle < ATTEMPTS && (arrived.bytes < file.size || file.size === 0);) {
    if (idle > 0) await sleep(FIRST_PAUSE_MS * 2 ** idle, undefined, { signal: options.signal });
    failure = undefined;
    try {
      await receive(id, file, partial, arrived, options);
      if (file.size === 0) break;
    } catch (error) {
      options.signal?.throwIfAborted();
      if (error instanceof PeftError && error.code === "hash_mismatch") await rm(partial, { force: true });
      if (!passing(error)) throw error;
      failure = error;
    }
    // A connection that brings something may break off as often as it likes.
    idle = arrived.bytes > most ? 1 : idle + 1;
    most = Math.max(most, arrived.bytes);
  }
  if (failure instanceof PeftError) throw failure;
  if (failure !== undefined && arrived.bytes === 0)
    throw unreachable(`file ${file.path} of ${id}`, id, failure);
  if (arrived.bytes < file.size) {
    throw new CheckpointError({
      code: "download_incomplete",
      summary: `The download of ${file.path} of ${id} broke off at ${arrived.bytes} of ${file.size} bytes.`,
      fixes: ["run the command again: it goes on from there"],
      fields: { id, path: file.path, received: arrived.bytes, size: file.size },
      cause: failure,
    });
  }
  const got = arrived.hash.digest("hex");
  if (got !== (file.sha256 ?? file.oid)) {
    await rm(partial, { force: true });
    throw damaged(id, file, got);
  }
  await rename(partial, blob);
}

function damaged(id: string, file: HubFile, got: string): CheckpointError {
  const expected = file.sha256 ?? file.oid;
  return new CheckpointError({
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

/** Puts a blob into a snapshot: as a link, or as a copy where links need rights that one has not. */
async function place(blob: string, path: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  // A link whose blob was deleted.
  await rm(path, { force: true });
  try {
    await symlink(relative(dirname(path), blob), path);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "EEXIST") return;
    if (code !== "EPERM" && code !== "ENOSYS") throw writeError(path, error);
    await copyFile(blob, path);
  }
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
  const path = join(cache.snapshots, commit, file.path);
  if (existsSync(path)) return path;
  await mkdir(cache.blobs, { recursive: true }).catch((error: unknown) => {
    throw writeError(cache.blobs, error);
  });
  if (!existsSync(blob)) await fetchBlob(id, file, blob, options);
  await place(blob, path);
  return path;
}
