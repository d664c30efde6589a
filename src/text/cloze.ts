import { readOptions } from "../base/read-options.js";
import { suggest } from "../base/suggest.js";
import { assertNoClozeFaults, type ClozeFault } from "./cloze-fault.js";
import { type ClozeOptions, clozeOptions, type ClozeSettings, type Verbalizer } from "./cloze-options.js";
import { planWords, type WordPlan } from "./cloze-plan.js";
import { columnsOf, parseTemplate, renderTemplate, type TemplatePart } from "./cloze-template.js";
import { type LabelWords, readWords, type WordPlace } from "./cloze-words.js";
import type { Tokenizer } from "./tokenizer.js";

/** How a model finds words: those that were masked, or what comes next. */
export type ClozeForm = "mask" | "completion";

/** A template and its words, as a model takes them. */
export interface Cloze {
  readonly form: ClozeForm;
  readonly settings: ClozeSettings & { readonly template: string; readonly verbalizer: Verbalizer };
  readonly tokenizer: Tokenizer;
  /** What is put around a row; for a model that completes it ends where the word begins. */
  readonly parts: readonly TemplatePart[];
  /** Columns of the data that it shows. */
  readonly columns: readonly string[];
  readonly classes: readonly LabelWords[];
  readonly plan: WordPlan;
}

/** Mask tokens that are written where a tokenizer has another. */
const USUAL_MASKS = ["[MASK]", "<mask>"];

/** What is wrong with where the word is to be found. */
function maskFaults(parts: readonly TemplatePart[], form: ClozeForm, tokenizer: Tokenizer): ClozeFault[] {
  const fault = (text: string, cure: string, where: ClozeFault["where"] = "template"): ClozeFault => ({
    where,
    text,
    cure,
  });
  const masks = parts.filter(({ kind }) => kind === "mask").length;
  const { maskToken, maskTokenId } = tokenizer;
  const text = parts.map((part) => (part.kind === "text" ? part.text : "")).join("");
  const foreign = USUAL_MASKS.find((one) => one !== maskToken && text.includes(one));
  const faults: ClozeFault[] = [];
  if (form === "mask" && maskTokenId === undefined) {
    const missing =
      maskToken === undefined ? "has no mask token" : `has no token ${maskToken}, its mask token`;
    faults.push(
      fault(missing, "mend mask_token in tokenizer_config.json, or use a causal model", "tokenizer"),
    );
  }
  if (foreign !== undefined) {
    const own = maskToken === undefined ? "this model has none" : `that of this model is ${maskToken}`;
    faults.push(fault(`holds ${foreign}, the mask of other models; ${own}`, "write {mask}"));
  } else if (form === "mask" && masks === 0) {
    faults.push(fault("has no {mask}, so there is no word to be found", 'template: "{text} It was {mask}."'));
  }
  if (masks > 1) faults.push(fault(`has ${masks} masks; one word is found`, "leave one {mask}"));
  if (form === "completion" && masks === 1 && parts.at(-1)?.kind !== "mask") {
    const end = "goes on behind {mask}, and a causal model reads what stands before it alone";
    faults.push(fault(end, 'end it with {mask}, as "{text}\\nSentiment: {mask}"'));
  }
  return faults;
}

/** The template up to the word, without the space before it; and where the word stands. */
function wordPlace(
  parts: readonly TemplatePart[],
  form: ClozeForm,
): { readonly place: WordPlace; readonly prompt: readonly TemplatePart[] } {
  const at = parts.findIndex(({ kind }) => kind === "mask");
  const before = at < 0 ? [...parts] : parts.slice(0, at);
  const last = before.at(-1);
  const written = last?.kind === "text" ? /\s*$/.exec(last.text)![0] : "";
  // A template that ends without a space is meant to be followed by one, as words are.
  const space = written === "" && at < 0 ? " " : written;
  const prompt = [...before];
  if (last?.kind === "text") prompt.splice(-1, 1, { kind: "text", text: last.text.trimEnd() });
  // What a column holds does not matter to the tokens of the word.
  const text = renderTemplate(prompt, () => "a", "");
  return { place: { before: text, space, single: form === "mask" }, prompt };
}

/** The columns of a template that no row has, and the label where the template gives it away. */
export function columnFaults(
  columns: readonly string[],
  known: ReadonlySet<string> | undefined,
): ClozeFault[] {
  const faults: ClozeFault[] = [];
  if (columns.length === 0) {
    const text = "shows no column, so that all rows would read the same";
    faults.push({ where: "template", text, cure: 'template: "{text} It was {mask}."' });
  }
  for (const name of columns) {
    if (name === "label" || name === "labels") {
      const text = `shows {${name}}, which is what is to be found`;
      faults.push({ where: "template", text, cure: `leave {${name}} out` });
    } else if (known !== undefined && !known.has(name)) {
      const names = [...known].filter((one) => !/^labels?$/.test(one));
      const near = suggest(name, names);
      const choices = near.length > 0 ? near : names.slice(0, 20);
      const text = `shows {${name}}, which is a column of no row; ${near.length > 0 ? "nearest" : "columns"}: ${choices.join(", ")}`;
      faults.push({ where: "template", text, cure: choices[0] && `write {${choices[0]}}` });
    }
  }
  return faults;
}

/**
 * Makes a cloze for a tokenizer, and says everything that is wrong with it without throwing.
 *
 * @param known - columns of the data, where it is there
 */
export function planCloze(
  options: ClozeOptions,
  tokenizer: Tokenizer,
  form: ClozeForm,
  known?: ReadonlySet<string>,
): { readonly cloze: Cloze; readonly faults: readonly ClozeFault[] } {
  const settings = readOptions(clozeOptions, { ...options }, { source: "cloze" });
  const { template = "", verbalizer = {}, lengthNormalization } = settings;
  const faults: ClozeFault[] = [];
  const { parts, faults: braces } = parseTemplate(template, tokenizer.maskToken);
  const columns = columnsOf(parts);
  for (const text of braces)
    faults.push({ where: "template", text, cure: "write {{ and }} for braces themselves" });
  if (template.trim() === "") {
    faults.push({ where: "template", text: "is empty", cure: 'template: "{text} It was {mask}."' });
  } else {
    faults.push(...maskFaults(parts, form, tokenizer), ...columnFaults(columns, known));
  }
  const { place, prompt } = wordPlace(parts, form);
  let words: Verbalizer = {};
  if (typeof verbalizer === "string") {
    const text = `is the text ${JSON.stringify(verbalizer)}; words for each class were expected`;
    faults.push({ where: "verbalizer", text, cure: '{ "great": "great", "other": "bad" }' });
  } else words = verbalizer;
  const read = readWords(words, place, tokenizer, { lengthNormalization });
  if (typeof verbalizer !== "string") faults.push(...read.faults);
  const shown = form === "completion" ? prompt : parts;
  const cloze: Cloze = {
    form,
    settings: { ...settings, template, verbalizer: words },
    tokenizer,
    parts: shown,
    columns,
    classes: read.classes,
    plan: planWords(read.classes),
  };
  return { cloze, faults };
}

/**
 * Makes a cloze for a tokenizer.
 *
 * @throws {@link ConfigError} `cloze` with every fault of template and verbalizer
 */
export function makeCloze(options: ClozeOptions, tokenizer: Tokenizer, form: ClozeForm): Cloze {
  const { cloze, faults } = planCloze(options, tokenizer, form);
  assertNoClozeFaults(faults);
  return cloze;
}

/** Labels of a cloze, in the order of its verbalizer. */
export const labelsOf = ({ classes }: Cloze): string[] => classes.map(({ label }) => label);
