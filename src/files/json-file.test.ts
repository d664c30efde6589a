import { describe, expect, test } from "vitest";
import { ConfigError } from "../base/errors.js";
import { findJsonFault } from "./json-fault.js";
import { parseJson } from "./json-file.js";

const place = (text: string): string => {
  const fault = findJsonFault(text);
  return fault === undefined ? "none" : `${fault.line}:${fault.column} ${fault.reason}`;
};

describe("the place of a fault in JSON", () => {
  test.each([
    ['{"a": 1,}', "1:9 a name in double quotes was expected, } was found"],
    ['{\n  "a": [1, 2\n  "b": 3\n}', '3:3 a comma or ] was expected, " was found'],
    ['{\n  "a": tru\n}', "2:8 a value was expected, tru was found"],
    ["{'a': 1}", "1:2 a name in double quotes or } was expected, ' was found"],
    ['{"a" 1}', "1:6 a colon was expected, 1 was found"],
    ['{"a": "b\n"}', '1:7 a text in double quotes, closed on its line was expected, " was found'],
    ['{"a": [1, 2', "1:12 a comma or ] was expected, the end of the file was found"],
    ["[1] x", "1:5 the end of the file was expected, x was found"],
    ["", "1:1 a value was expected, the end of the file was found"],
    ["[01]", "1:2 a value was expected, 01 was found"],
    ["[1,]", "1:4 a value was expected, ] was found"],
  ])("%j", (text, expected) => {
    expect(() => JSON.parse(text)).toThrow(SyntaxError);
    expect(place(text)).toBe(expected);
  });

  test("what is JSON has none, however deep and whatever stands in its texts", () => {
    const deep = "[".repeat(100_000) + "]".repeat(100_000);
    const texts = [
      '{"a": {"b": []}, "c": [{}, [[]], -1.5e+3, 0]}',
      '" \\u00e9\\"\\\\ ä 😀 \u007f"',
      " null\n",
      deep,
    ];
    for (const text of texts) expect(place(text)).toBe("none");
  });
});

test("the error names file, line and column", () => {
  expect(() => parseJson('{\n  "r": 8\n  "lora_alpha": 16\n}', "adapter_config.json"))
    .toThrowErrorMatchingInlineSnapshot(`
    [ConfigError: adapter_config.json is not JSON.
      at      adapter_config.json:3:3
      reason  a comma or } was expected, " was found
    fix: correct the file there; if it was fetched, fetch it again]
  `);
  expect(() => parseJson("{", "x.json")).toThrow(ConfigError);
});
