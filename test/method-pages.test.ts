import { expect, test } from "vitest";
import { GUIDANCE, methodExample, methodTable, optionLines, TABLE_NOTES } from "../src/cli/method-text.js";
import { methods } from "../src/methods/index.js";
import type { MethodDefinition } from "../src/methods/method.js";
import { models } from "../src/models/index.js";
import { buildModel } from "../src/models/model.js";
import { RawConfig } from "../src/nn/raw-config.js";

const all = Object.values(methods) as unknown as MethodDefinition[];

/** SmolLM2-135M: the sizes of a model that runs everywhere. */
const smol = {
  model_type: "llama",
  vocab_size: 49152,
  hidden_size: 576,
  intermediate_size: 1536,
  num_hidden_layers: 30,
  num_attention_heads: 9,
  num_key_value_heads: 3,
  max_position_embeddings: 8192,
  tie_word_embeddings: true,
};
const model = {
  name: "SmolLM2-135M",
  definition: models.llama,
  module: buildModel(models.llama, "CAUSAL_LM", new RawConfig(smol, "SmolLM2-135M")),
};

const row = (cells: readonly string[]): string => `| ${cells.join(" | ")} |`;
const cell = (text: string): string => text.replaceAll("|", "\\|");
const table = (heading: readonly string[], rows: readonly (readonly string[])[]): string =>
  [row(heading), `|${heading.map(() => "---|").join("")}`, ...rows.map((cells) => row(cells.map(cell)))].join(
    "\n",
  );

function section(method: MethodDefinition): string {
  const options = optionLines(method).map(({ name, default: value, range, doc }) => [
    `\`${name}\``,
    value === "" ? "" : `\`${value}\``,
    range,
    doc,
  ]);
  const [typescript, command] = methodExample(method);
  return `## ${method.name}: ${method.title}

${method.advice}

\`${method.formula}\` — ${method.parameters} parameters at a place — ${method.paper}

${table(["option", "default", "values", ""], options)}

\`\`\`ts
${typescript}
\`\`\`

\`\`\`sh
${command}
\`\`\`
`;
}

function page(): string {
  const [heading, ...rows] = methodTable(all, model);
  return `# Methods

Written from the declarations of the methods (\`npx vitest run test/method-pages.test.ts -u\`), not by hand; a stale page fails the
tests. The same on the command line: \`peft methods\`, \`peft methods --model MODEL\`, \`peft methods LORA\`. What each was checked
for: [methods-checks.md](methods-checks.md). A method of your own: [adding-a-method.md](adding-a-method.md).

${table(heading, rows)}

${[...TABLE_NOTES, "parameters: with default options on SmolLM2-135M (134.5 million)"].map((note) => `- ${note}`).join("\n")}

## Which one

${GUIDANCE.map((line) => `- ${line}`).join("\n")}

${all.map(section).join("\n")}`;
}

test("docs/methods.md is up to date", async () => {
  await expect(page()).toMatchFileSnapshot("../docs/methods.md");
});

test("every method says what a reader needs", () => {
  for (const method of all) {
    for (const text of [method.title, method.paper, method.formula, method.parameters, method.advice])
      expect(text.length, method.name).toBeGreaterThan(0);
    expect(method.advice, method.name).toMatch(/\.$/);
  }
});
