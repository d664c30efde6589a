import type { EntryCount, MatchReport, ModuleMatch } from "../match/report.js";
import { formatCount } from "./format.js";

const modules = (count: number): string => `${formatCount(count)} ${count === 1 ? "module" : "modules"}`;

/** Entries with how many modules they name, by kind and shape. */
function entryLine({ option, entry, count, groups }: EntryCount): [string, string] {
  const shown = groups
    .slice(0, 4)
    .map(
      ({ type, shape, count: n }) =>
        `${formatCount(n)} × ${type}${shape === undefined ? "" : ` (${shape.join(", ")})`}`,
    );
  const more = groups.length > 4 ? [`and ${groups.length - 4} kinds more`] : [];
  return [
    `${option} ${entry}`,
    `${modules(count)}${groups.length > 0 ? `: ${[...shown, ...more].join(", ")}` : ""}`,
  ];
}

const sum = (list: readonly ModuleMatch[]): number => list.reduce((total, { trained }) => total + trained, 0);

/** Totals of a report, and what each of its entries names. */
export function matchSummary(report: MatchReport): string[] {
  const { targets, modulesToSave } = report;
  const all = report.modules
    .filter(({ name }) => !name.includes("."))
    .reduce((total, { parameters }) => total + parameters, 0);
  const trained = sum(targets) + sum(modulesToSave);
  const rows: [string, string][] = [
    ["adapted", `${modules(targets.length)}, ${formatCount(sum(targets))} parameters`],
    ...(modulesToSave.length > 0
      ? [
          [
            "saved as a whole",
            `${modules(modulesToSave.length)}, ${formatCount(sum(modulesToSave))} parameters`,
          ] as [string, string],
        ]
      : []),
    [
      "trained",
      `${formatCount(trained)} parameters beside ${formatCount(all)} of the model (${((100 * trained) / Math.max(1, all)).toFixed(2)} %)`,
    ],
    ...report.entries.map(entryLine),
  ];
  const width = Math.max(...rows.map(([label]) => label.length));
  return rows.map(([label, text]) => `${label.padEnd(width)}  ${text}`);
}

/** Names that could be given, by kind: last names of modules with their number and shape. */
export function availableTargets(report: MatchReport): string[] {
  const rows = new Map<
    string,
    { readonly kind: string; readonly name: string; readonly shape: string; count: number }
  >();
  for (const { name, kind, shape } of report.modules) {
    if (kind === undefined) continue;
    const last = name.slice(name.lastIndexOf(".") + 1);
    const text = shape === undefined ? "" : `(${shape.join(", ")})`;
    const key = `${kind} ${last} ${text}`;
    const known = rows.get(key);
    if (known === undefined) rows.set(key, { kind, name: last, shape: text, count: 1 });
    else known.count += 1;
  }
  const list = [...rows.values()];
  const width = Math.max(0, ...list.map(({ name }) => name.length));
  return list.map(
    ({ kind, name, shape, count }) =>
      `${kind.padEnd(10)} ${name.padEnd(width)}  ${modules(count).padStart(12)}  ${shape}`,
  );
}
