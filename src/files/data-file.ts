import { existsSync } from "node:fs";
import { readFile, stat } from "node:fs/promises";
import { basename, extname, join } from "node:path";
import { parse } from "csv-parse/sync";
import { ConfigError } from "../base/errors.js";
import { firstFew } from "../base/first-few.js";
import { parseJson } from "./json-file.js";

/** A row of a data file, with where it stands. */
export interface DataRow {
  /** `train.jsonl:12`; for JSON and CSV the number of the row. */
  readonly source: string;
  readonly value: Readonly<Record<string, unknown>>;
}

function dataError(
  code: string,
  summary: string,
  facts: readonly (readonly [string, string])[],
  fixes: readonly string[] = [],
): ConfigError {
  return new ConfigError({ code, summary, facts, fixes, fields: Object.fromEntries(facts) });
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

function readLines(text: string, path: string): DataRow[] {
  const name = basename(path);
  const faults: string[] = [];
  const rows: DataRow[] = [];
  for (const [i, line] of text.split(/\r?\n/).entries()) {
    if (line.trim() === "") continue;
    const source = `${name}:${i + 1}`;
    try {
      const value = JSON.parse(line) as unknown;
      if (isObject(value)) rows.push({ source, value });
      else faults.push(`${source}: holds ${Array.isArray(value) ? "a list" : typeof value}, not an object`);
    } catch (error) {
      faults.push(`${source}: ${(error as Error).message.replace(/ in JSON at position.*$/, "")}`);
    }
  }
  if (faults.length === 0) return rows;
  throw dataError(
    "row_syntax",
    `${path} has ${faults.length === 1 ? "a line that is" : `${faults.length} lines that are`} not a JSON object.`,
    [["lines", firstFew(faults)]],
    ["write one JSON object on each line, without line breaks inside"],
  );
}

function readList(text: string, path: string): DataRow[] {
  const value = parseJson(text, path);
  const list = Array.isArray(value)
    ? (value as unknown[])
    : isObject(value) && Array.isArray(value["data"])
      ? (value["data"] as unknown[])
      : undefined;
  if (list === undefined || !list.every(isObject)) {
    throw dataError(
      "data_shape",
      `${path} does not hold a list of objects.`,
      [],
      ["write [ { ... }, { ... } ], or one object a line in a .jsonl file"],
    );
  }
  return list.map((item, i) => ({ source: `${basename(path)}:${i + 1}`, value: item }));
}

function readTable(text: string, path: string): DataRow[] {
  try {
    const records = parse(text, { columns: true, skip_empty_lines: true, bom: true }) as Record<
      string,
      string
    >[];
    return records.map((value, i) => ({ source: `${basename(path)}:${i + 2}`, value }));
  } catch (error) {
    throw dataError("csv_syntax", `${path} is not a table with a header line.`, [
      ["reason", (error as Error).message],
    ]);
  }
}

const READERS: Readonly<Record<string, (text: string, path: string) => DataRow[]>> = {
  ".jsonl": readLines,
  ".ndjson": readLines,
  ".json": readList,
  ".csv": readTable,
};

/** The file of a data set: the path itself, or `train.jsonl` and its like in a folder. */
async function dataFile(path: string, part: "train" | "valid" | "test"): Promise<string> {
  const info = await stat(path).catch(() => undefined);
  if (info === undefined) {
    throw dataError(
      "data_missing",
      `There is no data file ${path}.`,
      [],
      ["check the path; .jsonl, .json and .csv files can be read"],
    );
  }
  if (!info.isDirectory()) return path;
  const found = Object.keys(READERS)
    .map((ending) => join(path, `${part}${ending}`))
    .find((file) => existsSync(file));
  if (found !== undefined) return found;
  throw dataError("data_missing", `${path} holds no ${part}.jsonl, ${part}.json or ${part}.csv.`, []);
}

/**
 * Reads all rows of a .jsonl, .json or .csv file, or of that part of a folder.
 *
 * @throws {@link ConfigError} `data_missing`, `data_kind`, `data_empty`, `row_syntax`, `data_shape`, `csv_syntax`
 */
export async function readRows(path: string, part: "train" | "valid" | "test" = "train"): Promise<DataRow[]> {
  const file = await dataFile(path, part);
  const reader = READERS[extname(file).toLowerCase()];
  if (reader === undefined) {
    throw dataError("data_kind", `${file} is of no kind that can be read.`, [
      ["kinds", Object.keys(READERS).join(", ")],
    ]);
  }
  const text = (await readFile(file, "utf8")).replace(/^\uFEFF/, "");
  const rows = reader(text, file);
  if (rows.length > 0) return rows;
  throw dataError("data_empty", `${file} holds no rows.`, []);
}
