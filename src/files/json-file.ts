import { readFile } from "node:fs/promises";
import { CheckpointError, ConfigError } from "../base/errors.js";
import { findJsonFault } from "./json-fault.js";

/**
 * Parses JSON; a fault names the file, the line and the column.
 *
 * @throws {@link ConfigError} `json_syntax`
 */
export function parseJson(text: string, path: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    const fault = findJsonFault(text);
    throw new ConfigError({
      code: "json_syntax",
      summary: `${path} is not JSON.`,
      facts:
        fault === undefined
          ? [["reason", (error as Error).message]]
          : [
              ["at", `${path}:${fault.line}:${fault.column}`],
              ["reason", fault.reason],
            ],
      fixes: ["correct the file there; if it was fetched, fetch it again"],
      fields: { path, ...fault },
      cause: error,
    });
  }
}

/** Reads a text file, without a byte-order mark. */
async function readText(path: string): Promise<string> {
  try {
    return (await readFile(path, "utf8")).replace(/^\uFEFF/, "");
  } catch (error) {
    const missing = (error as NodeJS.ErrnoException).code === "ENOENT";
    throw new CheckpointError({
      code: missing ? "file_missing" : "file_unreadable",
      summary: missing ? `There is no file ${path}.` : `${path} cannot be read: ${(error as Error).message}.`,
      fixes: ["check the path and its permissions"],
      fields: { path },
      cause: error,
    });
  }
}

/**
 * Reads a JSON file that holds an object.
 *
 * @throws {@link ConfigError} `json_syntax`, `json_shape`; {@link CheckpointError} `file_missing`, `file_unreadable`
 */
export async function readJsonObject(path: string): Promise<Record<string, unknown>> {
  const value = parseJson(await readText(path), path);
  if (typeof value === "object" && value !== null && !Array.isArray(value))
    return value as Record<string, unknown>;
  throw new ConfigError({
    code: "json_shape",
    summary: `${path} holds ${Array.isArray(value) ? "a list" : JSON.stringify(value)}; an object was expected.`,
    fixes: ["check that it is the file you meant"],
    fields: { path },
  });
}
