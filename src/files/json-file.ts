import { readFile } from "node:fs/promises";
import { ConfigError } from "../base/errors.js";

/** `line 4, column 9` of an offset into a text. */
function position(text: string, offset: number): string {
  const before = text.slice(0, offset).split("\n");
  return `line ${before.length}, column ${before.at(-1)!.length + 1}`;
}

/** Parses JSON; a fault names the file, the line and the column. */
export function parseJson(text: string, path: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    const reason = (error as Error).message;
    const offset = /position (\d+)/.exec(reason)?.[1];
    throw new ConfigError({
      code: "json_syntax",
      summary: `${path} is not JSON.`,
      facts: [
        ...(offset === undefined ? [] : [["at", position(text, Number(offset))] as const]),
        ["reason", reason.replace(/\s*\(line.*$/, "").replace(/ in JSON at position.*$/, "")],
      ],
      fields: { path },
      cause: error,
    });
  }
}

/** Reads a JSON file that holds an object. */
export async function readJsonObject(path: string): Promise<Record<string, unknown>> {
  const value = parseJson(await readFile(path, "utf8"), path);
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  throw new ConfigError({
    code: "json_shape",
    summary: `${path} holds ${Array.isArray(value) ? "a list" : JSON.stringify(value)}; an object was expected.`,
    fields: { path },
  });
}
