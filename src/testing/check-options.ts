import { ConfigError } from "../base/errors.js";
import type { Option } from "../base/option.js";
import { type OptionRange, optionRange } from "../base/option-range.js";
import { optionFaults } from "../base/read-options.js";
import { defineCheck } from "./check.js";
import { require } from "./conformance-error.js";

/** A value that an option must refuse, and what the error has to say of it. */
export interface BadValue {
  readonly value: unknown;
  readonly says: string;
}

/** Values at and beyond the bounds of an option, and of another kind. */
export function badValues(option: Option<unknown>): BadValue[] {
  const { kind, min, max, above, below, values } = optionRange(option);
  const step = kind === "integer" ? 1 : 1e-3;
  const beyond: BadValue[] = [];
  if (min !== undefined) beyond.push({ value: min - step, says: `at least ${min}` });
  if (max !== undefined) beyond.push({ value: max + step, says: `at most ${max}` });
  if (above !== undefined) beyond.push({ value: above, says: `above ${above}` });
  if (below !== undefined) beyond.push({ value: below, says: `below ${below}` });
  if (kind === "integer") beyond.push({ value: 1.5, says: "whole number" });
  if (kind === "integer" || kind === "number") beyond.push({ value: "many", says: "is not" });
  if (values !== undefined)
    beyond.push({ value: "no such word", says: "is not" }, { value: 7, says: "is not" });
  if (kind === "other") {
    const fails = (value: unknown): boolean => !option.schema.safeParse(value).success;
    const value = [7, { bad: [] }, { bad: "no" }].find(fails);
    if (value !== undefined) beyond.push({ value, says: "is not" });
    // Numbers in a list or by name have bounds of their own.
    for (const inner of [[-1], { bad: 0 }]) if (fails(inner)) beyond.push({ value: inner, says: "is" });
  }
  return beyond;
}

/** Values at a bound that belong to the range. */
const goodValues = ({ min, max, values = [] }: OptionRange): unknown[] =>
  [min, max, ...values].filter((value) => value !== undefined);

export const options = defineCheck({
  name: "options",
  title: "every option refuses values at and beyond its bounds, in a text that says what was expected",
  once: true,
  async run(subject) {
    const { method } = subject;
    const base = await subject.models.shared();
    for (const [name, option] of Object.entries(method.config)) {
      require(option.doc.length > 0 && option.doc.endsWith("."), "option_doc", () =>
        `The option ${name} has no sentence of documentation.`);
      require(optionFaults({ [name]: option }, { [name]: option.default }, "camelCase").length ===
        0, "option_default", () => `The option ${name} refuses its own default.`);
      for (const value of goodValues(optionRange(option)))
        require(optionFaults({ [name]: option }, { [name]: value }, "camelCase").length ===
          0, "option_bound", () =>
          `The option ${name} refuses ${JSON.stringify(value)}, which lies within its bounds.`);
      for (const { value, says } of badValues(option)) {
        const error = await subject
          .attached(base, () => Promise.resolve(undefined), { more: { [name]: value } })
          .catch((fault: unknown) => fault);
        const shown = JSON.stringify(value);
        require(error instanceof ConfigError, "option_taken", () => `The option ${name} takes ${shown}.`);
        const { message } = error as ConfigError;
        for (const part of [method.name, name, shown, says])
          require(message.includes(part), "option_text", () =>
            `The error for ${name}: ${shown} does not say "${part}".`, () => [["text", message]]);
      }
    }
    return "holds";
  },
});
