import { ConfigError } from "../base/errors.js";
import { suggest } from "../base/suggest.js";
import type { Engine, EngineOptions, EngineSettings } from "./engine.js";
import { defaultThreads } from "./threads.js";

/** Every engine, by name, the best one first. Each is loaded when it is asked for. */
const engines = {
  "ort-native": async (options: EngineSettings): Promise<Engine> =>
    (await import("./ort-native.js")).createNativeEngine(options),
  "ort-node": async (options: EngineSettings): Promise<Engine> =>
    (await import("./ort-node.js")).createNodeEngine(options),
};

export type EngineName = keyof typeof engines;

export interface CreateEngineOptions extends EngineOptions {
  /** The first that works, in the order ort-native, ort-node, unless said otherwise here or by PEFT_ENGINE. */
  readonly engine?: EngineName | undefined;
}

function chosenName(option: string | undefined): EngineName | undefined {
  const name = option ?? process.env["PEFT_ENGINE"];
  if (name === undefined || name === "") return undefined;
  if (Object.hasOwn(engines, name)) return name as EngineName;
  const near = suggest(name, Object.keys(engines));
  throw new ConfigError({
    code: "engine_unknown",
    summary: `There is no engine called "${name}".`,
    facts: [
      ...(near.length > 0 ? [["nearest", near.join(", ")] as const] : []),
      ["engines", Object.keys(engines).join(", ")],
    ],
    fields: { name },
  });
}

function settingsOf(option: number | undefined): EngineSettings {
  const variable = process.env["PEFT_THREADS"] ?? "";
  const threads = option ?? (variable === "" ? 0 : Number(variable));
  if (threads === 0) return { threads: defaultThreads(), asked: false };
  if (Number.isSafeInteger(threads) && threads > 0) return { threads, asked: true };
  const name = option === undefined ? "PEFT_THREADS" : "threads";
  const value = option ?? variable;
  throw new ConfigError({
    code: "threads_invalid",
    summary: `${name} is ${value}, but threads are counted in whole numbers from 1.`,
    fixes: [`${name}=${defaultThreads()}`, `without ${name}: one for every physical core`],
    fields: { name, value },
  });
}

/**
 * Opens an engine.
 *
 * @throws {@link ConfigError} `engine_unknown`, `threads_invalid`
 * @example
 * const engine = await createEngine({ engine: "ort-native", threads: 4 });
 */
export async function createEngine(options: CreateEngineOptions = {}): Promise<Engine> {
  const name = chosenName(options.engine);
  const settings = settingsOf(options.threads);
  if (name !== undefined) return engines[name](settings);
  try {
    return await engines["ort-native"](settings);
  } catch (error) {
    // No koffi or no library for this platform: the binding does the same work, slower and with copies.
    console.warn(
      `peft.js: ort-native is not available, so ort-node is used (slower): ${(error as Error).message}`,
    );
    return engines["ort-node"](settings);
  }
}

let shared: Promise<Engine> | undefined;

/** The engine that models use unless they are given one; opened once a process. */
export function defaultEngine(): Promise<Engine> {
  shared ??= createEngine();
  return shared;
}
