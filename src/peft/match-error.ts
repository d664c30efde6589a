import { type Fact, TargetError } from "../base/errors.js";
import type { MatchFault, MatchReport } from "../match/report.js";

/** A fault inside the error for several: its sentence, then what belongs to it. */
function section({ summary, facts, fixes }: MatchFault): string {
  const width = Math.max(0, ...facts.map(([label]) => label.length));
  const lines = facts.flatMap(([label, text]) =>
    text.split("\n").map((line, i) => `  ${(i === 0 ? label : "").padEnd(width)}  ${line}`.trimEnd()),
  );
  return [summary, ...lines, ...fixes.slice(0, 1).map((fix) => `  fix: ${fix}`)].join("\n");
}

/** The error for all faults of a report at once. */
export function matchError({ faults, model }: MatchReport): TargetError {
  const [first] = faults;
  if (faults.length === 1) return new TargetError(first!);
  const facts = faults.map((fault, i): Fact => [`${i + 1}`, section(fault)]);
  return new TargetError({
    code: first!.code,
    summary: `${faults.length} things in the choice of modules cannot be done with ${model}.`,
    facts,
    fields: { model, faults: faults.map(({ code, fields }) => ({ code, ...fields })) },
  });
}

/** @throws {@link TargetError} with every fault, where there is one */
export function assertNoFaults(report: MatchReport): void {
  if (report.faults.length > 0) throw matchError(report);
}
