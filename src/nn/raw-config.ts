import { ConfigError } from "../base/errors.js";

/** The contents of a `config.json`, read key by key; faults are collected and thrown together by `check`. */
export class RawConfig {
  readonly #faults: string[] = [];

  constructor(
    readonly values: Readonly<Record<string, unknown>>,
    readonly file = "config.json",
  ) {}

  #fault(key: string, expected: string): void {
    const value = this.values[key];
    const got = value === undefined ? "is missing" : `is ${JSON.stringify(value)}`;
    this.#faults.push(`${key} ${got}; ${expected} was expected`);
  }

  /** A positive whole number; `fallback` where the key is absent or null. */
  count(key: string, fallback?: number): number {
    const value = this.values[key] ?? fallback;
    if (typeof value === "number" && Number.isInteger(value) && value > 0) return value;
    this.#fault(key, "a positive whole number");
    return 1;
  }

  number(key: string, fallback?: number): number {
    const value = this.values[key] ?? fallback;
    if (typeof value === "number" && Number.isFinite(value)) return value;
    this.#fault(key, "a number");
    return 1;
  }

  flag(key: string, fallback: boolean): boolean {
    const value = this.values[key] ?? fallback;
    if (typeof value === "boolean") return value;
    this.#fault(key, "true or false");
    return fallback;
  }

  /** A number, or undefined where the key is absent or null. */
  optional(key: string): number | undefined {
    const value = this.values[key];
    if (value === undefined || value === null) return undefined;
    if (typeof value === "number") return value;
    this.#fault(key, "a number or null");
    return undefined;
  }

  /** Text that has to be one of `choices`. */
  choice(key: string, choices: readonly string[], fallback: string): string {
    const value = this.values[key] ?? fallback;
    if (typeof value === "string" && choices.includes(value)) return value;
    this.#fault(key, choices.map((choice) => `"${choice}"`).join(" or "));
    return fallback;
  }

  /** Number of outputs of a task head: the length of `id2label`, else `num_labels`, else 2 as in Hugging Face. */
  labelCount(): number {
    const names = this.values["id2label"];
    if (typeof names === "object" && names !== null && Object.keys(names).length > 0)
      return Object.keys(names).length;
    return this.count("num_labels", 2);
  }

  /** Records a fault that concerns several keys. */
  fault(text: string): void {
    this.#faults.push(text);
  }

  /** Throws all faults found so far. */
  check(): void {
    if (this.#faults.length === 0) return;
    const noun = this.#faults.length === 1 ? "a value" : `${this.#faults.length} values`;
    throw new ConfigError({
      code: "model_config",
      summary: `${this.file} has ${noun} that this model cannot be built from.`,
      facts: this.#faults.map((fault) => ["fault", fault] as const),
      fields: { file: this.file, faults: [...this.#faults] },
    });
  }
}
