import { checks, type ConformanceResult, type Outcome } from "./bench.js";

const MARKS: Readonly<Record<Outcome, string>> = { holds: "✓", declared: "–", refused: "n/a", failed: "✗" };

const unique = (values: readonly string[]): string[] => [...new Set(values)];

/** The outcomes of one row of a table, one a check. */
const cells = (results: readonly ConformanceResult[]): string =>
  checks
    .map(({ name }) => results.find(({ check }) => check === name))
    .map((result) => (result === undefined ? " " : MARKS[result.outcome]))
    .join(" | ");

/** One mark for all checks of a variant: the worst of them. */
function variantMark(results: readonly ConformanceResult[]): string {
  const outcomes = results.map(({ outcome }) => outcome);
  if (outcomes.includes("failed")) return MARKS.failed;
  if (outcomes.includes("refused")) return MARKS.refused;
  const declared = results.filter(({ outcome }) => outcome === "declared").map(({ check }) => check);
  return declared.length === 0 ? MARKS.holds : `${MARKS.holds} (${MARKS.declared} ${declared.join(", ")})`;
}

/** What a bench has run, as Markdown tables: methods × models × checks, and every variant of the options. */
export function conformanceReport(results: readonly ConformanceResult[]): string {
  const heading = `| model | ${checks.map(({ name }) => name).join(" | ")} |`;
  const rule = `|---|${checks.map(() => ":-:|").join("")}`;
  return unique(results.map(({ method }) => method))
    .map((method) => {
      const own = results.filter((result) => result.method === method);
      const plain = own.filter(({ variant }) => variant === "");
      const rows = unique(plain.map(({ model }) => model)).map(
        (model) => `| ${model} | ${cells(plain.filter((result) => result.model === model))} |`,
      );
      const variants = own.filter(({ variant }) => variant !== "");
      const list = unique(variants.map(({ model, variant }) => `${model}, ${variant}`)).map((title) => {
        const some = variants.filter(({ model, variant }) => `${model}, ${variant}` === title);
        return `- ${title}: ${variantMark(some)}`;
      });
      return [`## ${method}`, "", heading, rule, ...rows, "", ...list, ""].join("\n");
    })
    .join("\n");
}
