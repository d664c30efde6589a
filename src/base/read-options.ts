import { ConfigError, type Fact } from "./errors.js";
import { faultText, optionCure, SPELL, type Spelling } from "./fault-text.js";
import { groupKeys, type Options, type OptionValues } from "./option.js";
import { neighbourName, suggest } from "./suggest.js";

export interface ReadOptionsSource {
  /** What the values come from: shown first in the error, such as `train.yaml` or `LORA`. */
  readonly source: string;
  readonly spelling?: Spelling;
  /** Where a key stands, such as `line 4`. */
  readonly where?: (key: string) => string | undefined;
  /** Options that are known and not there, with what to do instead. */
  readonly refuses?: Readonly<Record<string, string>> | undefined;
  /** Cure shown last. */
  readonly fix?: string;
}

/** A fault of one key, as it is shown. */
export interface OptionFault {
  readonly key: string;
  readonly text: string;
  readonly suggestions: readonly string[];
  /** What can be written instead. */
  readonly cure?: string;
}

/** Values under the options' own names, where they came under an alias. */
export function resolveAliases(
  options: Options,
  values: Readonly<Record<string, unknown>>,
): Record<string, unknown> {
  const names = new Map<string, string>();
  for (const [name, option] of Object.entries(options))
    for (const other of option.aliases ?? []) names.set(other, name);
  return Object.fromEntries(Object.entries(values).map(([key, value]) => [names.get(key) ?? key, value]));
}

/** A fault of a setting as a fault of the group that it stands in. */
function ofGroup(group: string, fault: OptionFault, spell: (name: string) => string): OptionFault {
  const { key, cure } = fault;
  const whole = cure === undefined ? {} : { cure: `${cure} in ${spell(group)}` };
  return { ...fault, key: `${group}.${key}`, ...whole };
}

/** All faults of a set of values, without throwing. Keys of `values` are camelCase. */
export function optionFaults(
  options: Options,
  values: Readonly<Record<string, unknown>>,
  spelling: Spelling,
  refuses: Readonly<Record<string, string>> = {},
): OptionFault[] {
  const spell = SPELL[spelling];
  const known = Object.keys(options);
  const faults: OptionFault[] = [];
  for (const [key, value] of Object.entries(resolveAliases(options, values))) {
    const option = options[key];
    const refused = option === undefined ? refuses[key] : undefined;
    if (refused !== undefined) {
      faults.push({ key, text: refused, suggestions: [] });
      continue;
    }
    if (option === undefined) {
      const neighbour = neighbourName(key, known);
      const near = neighbour === undefined ? suggest(key, known).map(spell) : [spell(neighbour)];
      const hint =
        neighbour !== undefined
          ? `; it is called ${near[0]} here`
          : near.length > 0
            ? `; did you mean ${near.join(" or ")}?`
            : "";
      faults.push({ key, text: `there is no such option${hint}`, suggestions: near });
      continue;
    }
    if (value === undefined) continue;
    const result = option.schema.safeParse(value);
    if (!result.success) {
      const issue = result.error.issues[0]!;
      const branches = issue.code === "invalid_union" ? issue.errors.flat() : [];
      // Of the forms that a value may have, the one that it comes nearest to tells what is wrong with it.
      const nearest = branches.find(({ code }) => code !== "invalid_type") ?? issue;
      const text = faultText(option, value, nearest);
      faults.push({ key, text, suggestions: [], cure: optionCure(key, option, spelling) });
    } else if (option.group !== undefined) {
      const { group } = option;
      const values = groupKeys(group, value as Record<string, unknown>);
      // A flag takes a group as JSON, whose keys are no flags.
      const inside = optionFaults(group.options, values, spelling === "kebab-case" ? "camelCase" : spelling);
      faults.push(...inside.map((fault) => ofGroup(key, fault, spell)));
    }
  }
  return faults;
}

/** The error that reports faults of options, all at once. */
export function optionError(faults: readonly OptionFault[], from: ReadOptionsSource): ConfigError {
  const spell = SPELL[from.spelling ?? "camelCase"];
  const facts = faults.map(({ key, text }): Fact => {
    const where = from.where?.(key);
    return [spell(key), where === undefined ? text : `${text} (${where})`];
  });
  const cures = faults.flatMap(({ cure }) => (cure === undefined ? [] : [cure]));
  const noun = faults.length === 1 ? "an option" : `${faults.length} options`;
  return new ConfigError({
    code: faults.every(({ text }) => text.startsWith("there is no such")) ? "unknown_key" : "option_value",
    summary: `${from.source} has ${noun} that cannot be used.`,
    facts,
    fixes: [...(cures.length === 0 ? [] : [cures.join(", ")]), ...(from.fix === undefined ? [] : [from.fix])],
    fields: { source: from.source, faults },
  });
}

/** Values with defaults filled in. Throws one {@link ConfigError} with every unknown key and every bad value. */
export function readOptions<O extends Options>(
  options: O,
  values: Readonly<Record<string, unknown>>,
  from: ReadOptionsSource,
): OptionValues<O> {
  const faults = optionFaults(options, values, from.spelling ?? "camelCase", from.refuses);
  if (faults.length > 0) throw optionError(faults, from);
  const named = resolveAliases(options, values);
  return Object.fromEntries(
    Object.entries(options).map(([key, { group, default: otherwise }]) => {
      const value = named[key] ?? otherwise;
      const inside = group !== undefined && value !== undefined;
      return [key, inside ? groupKeys(group, value as Record<string, unknown>) : value];
    }),
  ) as OptionValues<O>;
}
