import { ConfigError } from "../base/errors.js";

/** The error for an entry that `matching: "hugging-face"` has no rule for. */
export function huggingFaceOnly(option: string, value: unknown): ConfigError {
  return new ConfigError({
    code: "matching_hugging_face",
    summary: `${option}: ${JSON.stringify(value)} has no meaning in Hugging Face's rules.`,
    facts: [["they know", "a text or a list of texts, without *, braces, ! and objects"]],
    fixes: ['leave matching: "hugging-face" out', `write ${option} as Hugging Face's files have it`],
    fields: { option, value },
  });
}
