import { CheckpointError, type Fact } from "../base/errors.js";
import { firstFew } from "../base/first-few.js";
import { groupInFile } from "../base/option.js";
import { optionError, optionFaults } from "../base/read-options.js";
import { STEERING_OPTIONS } from "../base/target-options.js";
import { toCamelCase, toSnakeCase } from "../base/spelling.js";
import type { PeftConfig } from "../methods/index.js";
import type { MethodDefinition } from "../methods/method.js";
import type { ResolvedConfig } from "./attached-adapter.js";
import { findMethod } from "./method-registry.js";

/** Keys of every adapter_config.json that are no options of a method. */
const COMMON = [
  "auto_mapping",
  "base_model_name_or_path",
  // Says how the base keeps its weights, which its modules know themselves.
  "fan_in_fan_out",
  "inference_mode",
  "peft_type",
  "peft_version",
  "revision",
  "task_type",
  "runtime_config",
];

/** A key whose value says that a feature is off. */
const isOff = (value: unknown): boolean =>
  value === null ||
  value === false ||
  (Array.isArray(value) && value.length === 0) ||
  (typeof value === "object" && value !== null && Object.keys(value).length === 0);

/** What an adapter_config.json says. */
export interface ReadConfig {
  readonly config: PeftConfig;
  readonly baseModel: string | undefined;
  readonly taskType: string | undefined;
}

/**
 * Reads the contents of an adapter_config.json.
 *
 * Unknown keys whose value is false, null or empty are features that are off; any other is an error, since the file asks for
 * something that would not be done.
 *
 * @throws {@link ConfigError} `peft_type_unknown`, `unknown_key` or `option_value`, with every fault
 */
export function readAdapterConfig(values: Readonly<Record<string, unknown>>, file: string): ReadConfig {
  const peftType = values["peft_type"];
  const method = findMethod(peftType, `${file}: peft_type`);
  const options: Record<string, unknown> = {};
  const fileKeys = new Map(
    Object.entries(method.config).map(([name, { fileKey }]) => [fileKey ?? toSnakeCase(name), name]),
  );
  for (const [key, value] of Object.entries(values)) {
    if (COMMON.includes(key)) continue;
    const name = fileKeys.get(key) ?? toCamelCase(key);
    if (Object.hasOwn(method.config, name)) {
      if (value !== null) options[name] = value;
    } else if (!isOff(value) && method.inert[key] !== value) {
      options[name] = value;
    }
  }
  const faults = optionFaults(method.config, options, "snake_case", method.refuses);
  if (faults.length > 0) {
    // Another value would not be what the tensors of the file were made with.
    const asRead = faults.map(({ key, text, suggestions }) => ({ key, text, suggestions }));
    throw optionError(asRead, {
      source: file,
      spelling: "snake_case",
      fix: "an adapter that uses them needs a version of peft.js that knows them",
    });
  }
  const text = (key: string): string | undefined =>
    typeof values[key] === "string" ? (values[key] as string) : undefined;
  return {
    config: { peftType: method.name, ...options } as PeftConfig,
    baseModel: text("base_model_name_or_path"),
    taskType: text("task_type"),
  };
}

/** Whether files of a method have no key for an option that is not used. */
const isAbsent = (method: MethodDefinition, name: string): boolean =>
  method.ownOptions?.includes(name) === true || name.startsWith("layers");

/** The contents of adapter_config.json, keys sorted. */
export function writeAdapterConfig(
  method: MethodDefinition,
  config: ResolvedConfig,
  facts: { readonly baseModel: string; readonly taskType: string | null },
): Record<string, unknown> {
  const entries: [string, unknown][] = [
    ["auto_mapping", null],
    ["base_model_name_or_path", facts.baseModel],
    ["inference_mode", true],
    ["peft_type", method.name],
    ["revision", null],
    ["task_type", facts.taskType],
    ...Object.entries(method.inert),
    ...Object.entries(config)
      .filter(([name]) => !STEERING_OPTIONS.includes(name))
      .filter(([name, value]) => value !== undefined || !isAbsent(method, name))
      .map(([name, value]): [string, unknown] => [
        method.config[name]?.fileKey ?? toSnakeCase(name),
        method.config[name]?.group === undefined
          ? (value ?? null)
          : groupInFile(method.config[name].group, value),
      ]),
  ];
  return Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** Compares the tensors of an adapter file with those an adapter needs. */
export function checkAdapterTensors(
  file: string,
  needed: ReadonlyMap<string, readonly number[]>,
  found: ReadonlyMap<string, readonly number[]>,
  config: string,
): void {
  const missing = [...needed].filter(([name]) => !found.has(name));
  const unexpected = [...found].filter(([name]) => !needed.has(name));
  const misshapen = [...needed].filter(
    ([name, shape]) => found.has(name) && found.get(name)!.join() !== shape.join(),
  );
  if (missing.length + unexpected.length + misshapen.length === 0) return;
  const lines = (entries: readonly (readonly [string, readonly number[]])[]): string =>
    firstFew(entries.map(([name, shape]) => `${name}  (${shape.join(", ")})`));
  const facts: Fact[] = [];
  if (missing.length > 0) facts.push(["missing", lines(missing)]);
  if (unexpected.length > 0) facts.push(["not used", lines(unexpected)]);
  for (const [name, shape] of misshapen.slice(0, 5)) {
    facts.push([
      "wrong size",
      `${name}  (${found.get(name)!.join(", ")}) in the file, (${shape.join(", ")}) for this model`,
    ]);
  }
  facts.push(["config", config]);
  const parts = [
    missing.length > 0 ? `lacks ${missing.length} of the ${needed.size} tensors this adapter needs` : "",
    misshapen.length > 0 ? `has ${misshapen.length} tensors of another size` : "",
    unexpected.length > 0 ? `holds ${unexpected.length} tensors that nothing uses` : "",
  ].filter((part) => part !== "");
  throw new CheckpointError({
    code: misshapen.length > 0 ? "tensor_shape" : missing.length > 0 ? "tensor_missing" : "tensor_unexpected",
    summary: `${file} ${parts.join(" and ")}.`,
    facts,
    fixes: ["load the adapter on the base model it was made for"],
    fields: {
      file,
      missing: missing.map(([name]) => name),
      unexpected: unexpected.map(([name]) => name),
      misshapen: misshapen.map(([name]) => name),
    },
  });
}
