import { readFile } from "node:fs/promises";
import { isMap, isScalar, LineCounter, parseDocument } from "yaml";
import { ConfigError } from "../base/errors.js";
import { toCamelCase } from "../base/spelling.js";

/** The keys of a run file, in camelCase, and the lines they stand in. */
export interface RunFile {
  readonly path: string;
  readonly values: Readonly<Record<string, unknown>>;
  readonly lines: ReadonlyMap<string, number>;
}

/**
 * Reads a YAML run file; its keys are Hugging Face's, in snake_case.
 *
 * @throws {@link ConfigError} `run_file_missing` or `yaml_syntax`
 */
export async function readRunFile(path: string): Promise<RunFile> {
  const text = await readFile(path, "utf8").catch((error: unknown) => {
    throw new ConfigError({
      code: "run_file_missing",
      summary: `The run file ${path} cannot be read.`,
      fixes: ["check the path, or give the settings as flags: peft train --help"],
      fields: { path },
      cause: error,
    });
  });
  const counter = new LineCounter();
  const document = parseDocument(text, { lineCounter: counter });
  const [fault] = document.errors;
  const { contents } = document;
  if (fault !== undefined || !isMap(contents)) {
    const line = fault?.linePos?.[0].line;
    throw new ConfigError({
      code: "yaml_syntax",
      summary: `${path} is no YAML file of keys and values.`,
      facts: [
        ...(line === undefined ? [] : [["line", String(line)] as const]),
        ...(fault === undefined ? [] : [["reason", fault.message.split("\n")[0]!] as const]),
      ],
      fields: { path },
    });
  }
  const lines = new Map<string, number>();
  for (const { key } of contents.items) {
    if (isScalar(key) && key.range)
      lines.set(toCamelCase(String(key.value)), counter.linePos(key.range[0]).line);
  }
  const values = Object.fromEntries(
    Object.entries(document.toJS() as Record<string, unknown>).map(([key, value]) => [
      toCamelCase(key),
      value,
    ]),
  );
  return { path, values, lines };
}
