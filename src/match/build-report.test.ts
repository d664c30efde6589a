import { describe, expect, test } from "vitest";
import { Random } from "../base/random.js";
import type { ModuleEntry, ModulePattern } from "../base/module-pattern.js";
import { buildReport } from "./build-report.js";
import { type ListedModule, listModules } from "./module-list.js";
import type { MatchReport } from "./report.js";
import type { MatchSettings } from "./report-settings.js";

const NAMES = ["a", "b", "a_b", "layers", "h", "q", "0", "1", "2"];

/** A tree of modules at random. */
function randomModules(random: Random): ListedModule[] {
  const names = new Set<string>();
  for (let i = 0; i < 60; i += 1) {
    const depth = 1 + Math.floor(random.next() * 4);
    const path = Array.from({ length: depth }, () => NAMES[Math.floor(random.next() * NAMES.length)]!);
    for (let end = 1; end <= depth; end += 1) names.add(path.slice(0, end).join("."));
  }
  const types = ["Linear", "Conv1D", "Embedding", "LayerNorm", "Block"];
  return listModules(
    [...names].map((name) => {
      const type = types[Math.floor(random.next() * types.length)]!;
      return { name, type, ...(type === "Block" ? {} : { shape: type === "LayerNorm" ? [4] : [4, 4] }) };
    }),
  );
}

const pick = <T>(list: readonly T[], random: Random): T => list[Math.floor(random.next() * list.length)]!;

function randomEntry(modules: readonly ListedModule[], random: Random): ModuleEntry {
  const { name } = pick(modules, random);
  const suffix = name.split(".").slice(-2).join(".");
  return pick<ModuleEntry>(
    [
      name,
      suffix,
      name.split(".").at(-1)!,
      suffix.replace(/^[^.]+/, "*"),
      `**.${pick(NAMES, random)}`,
      `{0-1}.${pick(NAMES, random)}`,
      `!${suffix}`,
      { exact: name },
      { regex: `.*${pick(NAMES, random)}` },
      { kind: pick(["linear", "conv1d", "embedding", "norm"] as const, random) },
      { within: name.split(".")[0]!, match: ["**.a", "q"] },
    ],
    random,
  );
}

const settingsOf = (
  options: Partial<MatchSettings> & { readonly targetModules: ModulePattern },
): MatchSettings => ({
  model: "the model",
  method: "LORA",
  defaultTargets: false,
  heads: [],
  patterns: [],
  matching: "whole-names",
  supports: ({ kind }) => kind === "linear" || kind === "conv1d" || kind === "embedding",
  adapterAt: () => ({ trained: 8 }),
  ...options,
});

const targets = ({ targets: list }: MatchReport): string[] => list.map(({ name }) => name);

describe("properties, on 200 random trees", () => {
  const runs = Array.from({ length: 200 }, (_, seed) => {
    const random = new Random(seed + 1);
    const modules = randomModules(random);
    const entries = (most: number): ModuleEntry[] =>
      Array.from({ length: 1 + Math.floor(random.next() * most) }, () => randomEntry(modules, random));
    const options = { targetModules: entries(4), excludeModules: entries(2), modulesToSave: entries(2) };
    return { random, modules, options, report: buildReport(modules, settingsOf(options)) };
  });

  test("the report has every module once, in one state", () => {
    for (const { modules, report } of runs) {
      expect(report.modules.map(({ name }) => name)).toEqual(modules.map(({ name }) => name));
      const adapted = report.modules.filter(({ status }) => status === "adapted").map(({ name }) => name);
      expect(targets(report)).toEqual(adapted);
      for (const { name } of report.modulesToSave) expect(adapted).not.toContain(name);
    }
    expect(runs.some(({ report }) => report.targets.length > 2)).toBe(true);
    expect(runs.some(({ report }) => report.modulesToSave.length > 0)).toBe(true);
  });

  test("an entry's count is the number of modules that name it", () => {
    for (const { report } of runs) {
      for (const { option, entry, mode, count, groups } of report.entries) {
        const same = report.entries.filter(
          (other) => other.option === option && other.entry === entry,
        ).length;
        const naming = report.modules.flatMap(({ matchedBy }) =>
          matchedBy.filter((use) => use.option === option && use.entry === entry && use.mode === mode),
        );
        expect(naming.length, `${option} ${entry}`).toBe(count * same);
        expect(groups.reduce((sum, group) => sum + group.count, 0)).toBe(count);
      }
    }
  });

  test("the order of entries changes nothing", () => {
    for (const { modules, options, report } of runs) {
      const reversed = {
        targetModules: [...options.targetModules].reverse(),
        excludeModules: [...options.excludeModules].reverse(),
        modulesToSave: [...options.modulesToSave].reverse(),
      };
      const other = buildReport(modules, settingsOf(reversed));
      const states = ({ modules: list }: MatchReport) =>
        list.map(({ status, values, trained }) => ({ status, values, trained }));
      expect(states(other)).toEqual(states(report));
      expect(other.faults.map(({ code }) => code).sort()).toEqual(
        report.faults.map(({ code }) => code).sort(),
      );
    }
  });

  test("an exclusion never adds a match", () => {
    for (const { random, modules, options, report } of runs) {
      const entry = randomEntry(modules, random);
      if (typeof entry === "string" && entry.startsWith("!")) continue;
      const more = buildReport(
        modules,
        settingsOf({ ...options, excludeModules: [...options.excludeModules, entry] }),
      );
      for (const name of targets(more)) expect(targets(report)).toContain(name);
      const negated =
        typeof entry === "string" ? [...options.targetModules, `!${entry}`] : options.targetModules;
      const fewer = buildReport(modules, settingsOf({ ...options, targetModules: negated }));
      for (const name of targets(fewer)) expect(targets(report)).toContain(name);
    }
  });
});
