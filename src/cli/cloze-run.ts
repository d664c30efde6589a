import { readFile } from "node:fs/promises";
import { clozeForm, clozeTokenizer } from "../auto/auto-cloze.js";
import { findModel } from "../auto/open-pretrained.js";
import { ConfigError } from "../base/errors.js";
import { SPELL } from "../base/fault-text.js";
import { openCheckpoint } from "../files/checkpoint.js";
import { resolveModel } from "../files/hub.js";
import { parseJson } from "../files/json-file.js";
import { planCloze } from "../text/cloze.js";
import { clozeRowFaults, columnNames, renamedColumns } from "../text/cloze-dataset.js";
import { assertNoClozeFaults } from "../text/cloze-fault.js";
import { type ClozeOptions, clozeOptions, type ClozeSettings } from "../text/cloze-options.js";
import type { Columns, Row } from "../text/rows.js";
import { tokenizerFromFiles } from "../text/tokenizer.js";
import { modelPath } from "./embedded.js";
import type { RunSettings } from "./run-settings.js";

const noVerbalizer = (code: string, summary: string, given: unknown): ConfigError =>
  new ConfigError({
    code,
    summary,
    fixes: [`--verbalizer '${JSON.stringify(clozeOptions.verbalizer.example)}'`],
    fields: { verbalizer: given },
  });

/** The words of a file, where a text names one. */
async function readVerbalizer(
  given: ClozeSettings["verbalizer"],
): Promise<ClozeOptions["verbalizer"] | undefined> {
  if (typeof given !== "string") return given;
  if (given.trimStart().startsWith("{"))
    throw noVerbalizer("json_syntax", `verbalizer: ${given} is not JSON.`, given);
  const text = await readFile(given, "utf8").catch(() => undefined);
  if (text === undefined) {
    const summary = `verbalizer: ${given} is neither words as JSON nor a file that can be read.`;
    throw noVerbalizer("file_missing", summary, given);
  }
  const read = clozeOptions.verbalizer.schema.safeParse(parseJson(text, given));
  if (read.success && typeof read.data === "object") return read.data;
  throw noVerbalizer("option_value", `${given} is not ${clozeOptions.verbalizer.expected}.`, text);
}

/** The settings of a cloze among those that were given, those of a file read from it. */
export async function givenCloze(values: Readonly<Record<string, unknown>>): Promise<Partial<ClozeOptions>> {
  const given = Object.keys(clozeOptions).filter((key) => values[key] !== undefined);
  const own = Object.fromEntries(given.map((key) => [key, values[key]])) as Partial<ClozeSettings>;
  const { verbalizer, ...rest } = own;
  const words = await readVerbalizer(verbalizer);
  return { ...(rest as Partial<ClozeOptions>), ...(words === undefined ? {} : { verbalizer: words }) };
}

/** A cloze, what was left out of it empty: that is a fault, which says what to write. */
export const wholeCloze = (given: Partial<ClozeOptions>): ClozeOptions => ({
  ...given,
  template: given.template ?? "",
  verbalizer: given.verbalizer ?? {},
});

/**
 * The cloze of a run; undefined for other tasks.
 *
 * @throws {@link ConfigError} `option_without_effect` where other tasks are given a template or words
 */
export async function clozeOfRun({ run, sources }: RunSettings): Promise<ClozeOptions | undefined> {
  if (run.task === "cloze") return wholeCloze(await givenCloze(run));
  const given = Object.keys(clozeOptions).filter((key) => sources.get(key) !== "default");
  if (given.length === 0) return undefined;
  const names = given.map(SPELL["kebab-case"]);
  throw new ConfigError({
    code: "option_without_effect",
    summary: `${names.join(", ")} ${given.length === 1 ? "has" : "have"} no effect with the task ${String(run.task)}.`,
    fixes: ["--task cloze", `leave ${given.length === 1 ? "it" : "them"} out`],
    fields: { options: given, task: run.task },
  });
}

/**
 * Says everything that is wrong with a cloze and its data, before any weight is read.
 *
 * @throws {@link ConfigError} `cloze`
 */
export async function checkCloze(
  name: string,
  options: ClozeOptions,
  rows: readonly Row[],
  columns: Columns,
): Promise<void> {
  const checkpoint = await openCheckpoint(await resolveModel(modelPath(name)));
  try {
    const files = checkpoint.tokenizerFiles();
    const tokenizer = clozeTokenizer(name, files && tokenizerFromFiles(files));
    const form = clozeForm(findModel(checkpoint.config(), checkpoint.path));
    const named = rows.map((row) => renamedColumns(row, columns));
    const { cloze, faults } = planCloze(options, tokenizer, form, columnNames(named));
    assertNoClozeFaults([...faults, ...clozeRowFaults(cloze, named)]);
  } finally {
    checkpoint.close();
  }
}
