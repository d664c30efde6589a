import { buildReport } from "../match/build-report.js";
import { huggingFaceValue } from "../match/hugging-face.js";
import { parameterPath } from "../match/parameters.js";
import type { MatchReport, MatchWarning } from "../match/report.js";
import type { MethodDefinition } from "../methods/method.js";
import { ownParameters } from "../nn/module.js";
import { type MatchSubject, reportSettings } from "./adapter-report.js";
import type { ResolvedConfig } from "./attached-adapter.js";
import { assertNoFaults } from "./match-error.js";

const PREFIX = "base_model.model.";

/** What an adapter file says was adapted, and where its config says otherwise. */
export interface LoadedMatches {
  readonly report: MatchReport;
  readonly warnings: readonly MatchWarning[];
}

/** Modules that tensors of a file belong to which are no parameters of their own. */
function adaptedBy(keys: Iterable<string>, subject: MatchSubject, companions: readonly string[]): string[] {
  const own = new Map(
    subject.modules.map(({ name }) => {
      const module = subject.moduleAt(name);
      return [name, new Set(module === undefined ? [] : ownParameters(module).map(([key]) => key))] as const;
    }),
  );
  const found = new Set<string>();
  for (const key of keys) {
    if (!key.startsWith(PREFIX)) continue;
    const path = key.slice(PREFIX.length);
    let end = path.length;
    while (end > 0 && !own.has(path.slice(0, end))) end = path.lastIndexOf(".", end - 1);
    if (end <= 0) continue;
    const rest = path.slice(end + 1);
    const isOwn = own.get(path.slice(0, end))!.has(rest);
    const beside = companions.some((prefix) => rest.startsWith(prefix));
    if (rest !== "" && !isOwn && !beside && !rest.startsWith("base_layer.")) found.add(path.slice(0, end));
  }
  return [...own.keys()].filter((path) => found.has(path));
}

/** Modules to save: what an entry names by Hugging Face's rule and the file has tensors of, or what an entry names in full. */
function savedBy(keys: readonly string[], subject: MatchSubject, entries: readonly string[]): string[] {
  const named = subject.modules
    .map(({ name }) => name)
    .filter((path) =>
      entries.some(
        (entry) =>
          path === entry ||
          path.endsWith(`.${entry}`) ||
          (path.endsWith(entry) && keys.some((key) => key.startsWith(`${PREFIX}${path}.`))),
      ),
    );
  return named.filter((path) => !named.some((other) => path.startsWith(`${other}.`)));
}

const listed = (names: readonly string[]): string =>
  `${names.slice(0, 5).join(", ")}${names.length > 5 ? ` and ${names.length - 5} more` : ""}`;

/** Where the config of an adapter and its tensors disagree. */
function difference(file: string, config: readonly string[], tensors: readonly string[]): MatchWarning[] {
  const [more, less] = [
    config.filter((name) => !tensors.includes(name)),
    tensors.filter((name) => !config.includes(name)),
  ];
  if (more.length + less.length === 0) return [];
  const parts = [
    ...(more.length > 0 ? [`the config alone names ${listed(more)}`] : []),
    ...(less.length > 0 ? [`tensors alone are there for ${listed(less)}`] : []),
  ];
  const text = `${file}: config and tensors disagree about what is adapted: ${parts.join("; ")}. The tensors are followed.`;
  return [{ code: "config_tensors_differ", text }];
}

/**
 * The modules of an adapter that is loaded: its tensors say what was adapted. Where they name no module, as for methods that share
 * theirs, the config does, by Hugging Face's rules.
 *
 * @throws {@link TargetError} where the base has nothing of it
 */
export function loadedMatches(
  subject: MatchSubject,
  file: { readonly path: string; readonly keys: readonly string[] },
  method: MethodDefinition,
  config: ResolvedConfig,
): LoadedMatches {
  const settings = reportSettings({ ...subject, heads: [] }, method, config, false);
  const save = config["modulesToSave"] ?? [];
  const saved = savedBy(file.keys, subject, typeof save === "string" ? [save] : (save as readonly string[]));
  const valuesAt = (module: { readonly name: string }): Record<string, number> =>
    Object.fromEntries(
      settings.patterns.flatMap(([option, replaces, values]): [string, number][] => {
        const value = huggingFaceValue(values, at(module), option);
        return value === undefined ? [] : [[replaces, value]];
      }),
    );
  const asWritten = buildReport(subject.modules, {
    ...settings,
    matching: "hugging-face",
    modulesToSave: saved,
  });
  const expected = asWritten.targets.map(({ name }) => name);
  // Which parameters are adapted by themselves only the config says.
  const paths = new Map(asWritten.targets.map((target) => [target.name, parameterPath(target)]));
  const at = ({ name }: { readonly name: string }): string => paths.get(name) ?? name;
  const companions = (method.companions?.(config) ?? []).map(({ prefix }) => prefix);
  const adapted = adaptedBy(file.keys, subject, companions);
  const names = adapted.length > 0 ? adapted : expected;
  // Nothing of it is here: the reasons of a fresh adapter tell why.
  if (names.length === 0 && saved.length === 0 && settings.emptyTargets !== true)
    assertNoFaults(buildReport(subject.modules, { ...settings, modulesToSave: [], patterns: [] }));
  const exact = (name: string): { exact: string } => ({ exact: name });
  const { excludeModules: _, layersToTransform: __, layersPattern: ___, ...rest } = settings;
  const report = buildReport(subject.modules, {
    ...rest,
    matching: "whole-names",
    ambiguous: "allow",
    emptyTargets: names.length === 0,
    targetModules: names.filter((name) => at({ name }) === name).map(exact),
    targetParameters: names
      .map((name) => at({ name }))
      .filter((path, i) => path !== names[i])
      .map(exact),
    modulesToSave: saved.map(exact),
    patterns: [],
    valuesAt,
  });
  assertNoFaults(report);
  return { report, warnings: adapted.length > 0 ? difference(file.path, expected, adapted) : [] };
}
