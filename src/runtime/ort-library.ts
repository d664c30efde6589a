import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { UnsupportedError } from "../base/errors.js";

const FILES: Readonly<Record<string, string>> = {
  linux: "libonnxruntime.so.1",
  darwin: "libonnxruntime.dylib",
  win32: "onnxruntime.dll",
};

/** Where the npm package onnxruntime-node keeps the C library of this platform. */
export function findOrtLibrary(platform: string = process.platform, arch: string = process.arch): string {
  const require = createRequire(import.meta.url);
  const folder = join(
    dirname(require.resolve("onnxruntime-node/package.json")),
    "bin",
    "napi-v6",
    platform,
    arch,
  );
  const file = FILES[platform];
  const candidates =
    file === undefined ? [] : [join(folder, file), join(folder, "libonnxruntime.1.30.0.dylib")];
  const found = candidates.find((path) => existsSync(path));
  if (found !== undefined) return found;
  throw new UnsupportedError({
    code: "ort_library_missing",
    summary: `onnxruntime-node carries no library for ${platform} ${arch}.`,
    facts: [["looked in", folder]],
    fixes: ['use the engine "ort-node"'],
    fields: { platform, arch, folder },
  });
}
