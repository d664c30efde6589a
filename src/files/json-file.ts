import { readFile } from "node:fs/promises";
import { ConfigError } from "../base/errors.js";

/** Where the parser stopped, as `line 4`: from the offset in its message, or from the piece of text that it quotes. */
function stoppedAt(text: string, message: string): string | undefined {
  const offset = /position (\d+)/.exec(message)?.[1];
  const quoted = /(?:\.\.\.)?"([\s\S]+?)"(?:\.\.\.)? is not valid JSON$/.exec(message)?.[1];
  const token = /^Unexpected token '?([\s\S])'?/.exec(message)?.[1];
  let at = offset === undefined ? -1 : Number(offset);
  if (at < 0 && quoted !== undefined && text.includes(quoted)) {
    // The quoted piece has the token in its middle, about ten characters in.
    const start = text.indexOf(quoted);
    const found = token === undefined ? start : text.indexOf(token, start + Math.min(8, quoted.length - 1));
    at = Math.max(found, start);
  }
  return at < 0 ? undefined : `line ${text.slice(0, at).split("\n").length}`;
}

/** Parses JSON; a fault names the file and the line. */
export function parseJson(text: string, path: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    const { message } = error as Error;
    const at = stoppedAt(text, message);
    throw new ConfigError({
      code: "json_syntax",
      summary: `${path} is not JSON.`,
      facts: [
        ...(at === undefined ? [] : [["at", at] as const]),
        [
          "reason",
          message
            .replace(/, "[\s\S]*$/, "")
            .replace(/, \.\.\."[\s\S]*$/, "")
            .replace(/ in JSON at position[\s\S]*$/, ""),
        ],
      ],
      fields: { path },
      cause: error,
    });
  }
}

/** Reads a JSON file that holds an object. */
export async function readJsonObject(path: string): Promise<Record<string, unknown>> {
  const value = parseJson(await readFile(path, "utf8"), path);
  if (typeof value === "object" && value !== null && !Array.isArray(value))
    return value as Record<string, unknown>;
  throw new ConfigError({
    code: "json_shape",
    summary: `${path} holds ${Array.isArray(value) ? "a list" : JSON.stringify(value)}; an object was expected.`,
    fields: { path },
  });
}
