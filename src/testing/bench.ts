import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { PretrainedModel } from "../auto/pretrained-model.js";
import { ConfigError, TargetError, UnsupportedError } from "../base/errors.js";
import type { Options } from "../base/option.js";
import { optionRange } from "../base/option-range.js";
import type { MethodDefinition } from "../methods/method.js";
import type { SiteKind } from "../nn/site.js";
import type { Engine } from "../runtime/engine.js";
import { createEngine } from "../runtime/engines.js";
import { registerMethod } from "../peft/method-registry.js";
import {
  bfloat16,
  count,
  everyOne,
  identity,
  lossFalls,
  onlyOwn,
  recompute,
  seeds,
} from "./check-training.js";
import { detach, merge, saveAndLoad, switching } from "./check-lifecycle.js";
import { mixedBatch } from "./check-mixed-batch.js";
import { cachingEngine } from "./caching-engine.js";
import { options } from "./check-options.js";
import type { Check, Finding } from "./check.js";
import { type Models, Subject } from "./subject.js";
import {
  reopenTiny,
  tinyEmbedding,
  tinyFamily,
  tinyModel,
  type TinyModelOptions,
  tinyModelTypes,
} from "./tiny-model.js";

/** Every check, in the order of the tables. */
export const checks: readonly Check[] = [
  identity,
  onlyOwn,
  everyOne,
  lossFalls,
  merge,
  saveAndLoad,
  options,
  seeds,
  count,
  detach,
  bfloat16,
  recompute,
  switching,
  mixedBatch,
];

/** How a case ended: `refused` where method and model, or an option and the others, do not go together and the error says so. */
export type Outcome = Finding | "refused" | "failed";

/** A result for tables. */
export interface ConformanceResult {
  readonly method: string;
  readonly model: string;
  /** Empty for the options as they are by default. */
  readonly variant: string;
  readonly check: string;
  readonly outcome: Outcome;
}

/** A test: give `title` and `run` to the runner of your choice. */
export interface ConformanceCase extends Omit<ConformanceResult, "outcome"> {
  readonly title: string;
  /** Throws where the method does not conform. */
  run(): Promise<Outcome>;
}

export interface ConformanceOptions {
  /** Options that every case has, besides the defaults. */
  readonly options?: Readonly<Record<string, unknown>>;
  /** Further sets of options, by a title of their own. */
  readonly variants?: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  /** Architectures to run on, by `model_type`. @defaultValue all that peft.js knows */
  readonly models?: readonly string[];
  /** Architectures that variants run on. @defaultValue the first of `models` */
  readonly variantModels?: readonly string[];
}

/** Every other value of options that have a few, one at a time, and every kind of place. */
function declaredVariants(method: MethodDefinition, model: string): Record<string, Record<string, unknown>> {
  const entries = Object.entries(method.config).flatMap(([name, option]) =>
    (optionRange(option).values ?? [])
      .filter((value) => value !== option.default)
      .map((value): [string, Record<string, unknown>] => [`${name}: ${value}`, { [name]: value }]),
  );
  if ("targetModules" in method.config) {
    const { sites } = method as { readonly sites: readonly SiteKind[] };
    if (sites.includes("linear")) entries.push(["all-linear", { targetModules: "all-linear" }]);
    if (sites.includes("embedding")) entries.push(["embedding", { targetModules: [tinyEmbedding(model)] }]);
  }
  return Object.fromEntries(entries);
}

/** Whether an error says that something is not for this model, or for these options. */
const isRefusal = (error: unknown, variant: boolean): boolean =>
  error instanceof UnsupportedError ||
  error instanceof TargetError ||
  (variant && error instanceof ConfigError);

/** Tiny models, and the cases of methods on them. */
export class ConformanceBench {
  /** What has been run so far. */
  readonly results: ConformanceResult[] = [];
  readonly #models = new Map<string, Promise<PretrainedModel>>();
  #engine: Promise<Engine> | undefined;
  #folders: Promise<string> | undefined;
  #made = 0;

  /**
   * The cases of a method, which is registered first if it is new.
   *
   * @example
   * const bench = new ConformanceBench();
   * for (const { title, run } of bench.cases(ssf)) test(title, run);
   * after(() => bench.close());
   */
  cases<O extends Options, K extends SiteKind>(
    definition: MethodDefinition<O, K>,
    settings: ConformanceOptions = {},
  ): ConformanceCase[] {
    registerMethod(definition);
    const method = definition as unknown as MethodDefinition;
    const { options: common = {}, models = tinyModelTypes() } = settings;
    const result: ConformanceCase[] = [];
    const add = (
      model: string,
      variant: string,
      values: Readonly<Record<string, unknown>>,
      chosen: readonly Check[],
    ): void => {
      const subject = new Subject(method, { ...common, ...values }, this.#of(model), variant !== "");
      for (const check of chosen) result.push(this.#case(subject, check, model, variant));
    };
    const families = new Set<string>();
    for (const [i, model] of models.entries()) {
      const family = tinyFamily(model);
      const wanted = ({ once, oncePerFamily }: Check): boolean =>
        (once !== true || i === 0) && (oncePerFamily !== true || !families.has(family));
      add(model, "", {}, checks.filter(wanted));
      families.add(family);
    }
    for (const model of settings.variantModels ?? models.slice(0, 1)) {
      const variants = { ...declaredVariants(method, model), ...settings.variants };
      for (const [variant, values] of Object.entries(variants))
        add(
          model,
          variant,
          values,
          checks.filter(({ forVariants }) => forVariants === true),
        );
    }
    return result;
  }

  #case(subject: Subject, check: Check, model: string, variant: string): ConformanceCase {
    const facts = { method: subject.method.name, model, variant, check: check.name };
    const where = variant === "" ? model : `${model}, ${variant}`;
    const run = async (): Promise<Outcome> => {
      let outcome: Outcome = "failed";
      try {
        outcome = await check.run(subject);
      } catch (error) {
        if (!isRefusal(error, variant !== "")) throw error;
        outcome = "refused";
      } finally {
        this.results.push({ ...facts, outcome });
      }
      return outcome;
    };
    return { ...facts, title: `${where}: ${check.title}`, run };
  }

  #keep(key: string, make: () => Promise<PretrainedModel>): Promise<PretrainedModel> {
    let model = this.#models.get(key);
    if (model === undefined) {
      model = make();
      this.#models.set(key, model);
    }
    return model;
  }

  async #folder(): Promise<string> {
    this.#folders ??= mkdtemp(join(tmpdir(), "peft-conformance-"));
    this.#made += 1;
    return join(await this.#folders, String(this.#made));
  }

  #of(type: string): Models {
    const make = async (options: TinyModelOptions = {}): Promise<PretrainedModel> => {
      this.#engine ??= createEngine({ threads: 1 }).then(cachingEngine);
      return tinyModel(type, { engine: await this.#engine, ...options });
    };
    const shared = (): Promise<PretrainedModel> => this.#keep(type, make);
    return {
      shared,
      own: make,
      recomputing: () => this.#keep(`${type}, recomputing`, () => make({ activationBytes: 0 })),
      bfloat16: () =>
        this.#keep(`${type}, bfloat16`, async () => {
          const [model, folder] = [await shared(), await this.#folder()];
          await model.savePretrained(folder, { dtype: "bfloat16" });
          return reopenTiny(model, folder);
        }),
      folder: () => this.#folder(),
    };
  }

  /** Closes the models and removes what was written. */
  async close(): Promise<void> {
    for (const model of this.#models.values()) await (await model).close();
    this.#models.clear();
    await (await this.#engine)?.close();
    this.#engine = undefined;
    if (this.#folders !== undefined) await rm(await this.#folders, { recursive: true, force: true });
    this.#folders = undefined;
  }
}
