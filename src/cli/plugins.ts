import { createRequire } from "node:module";
import { isAbsolute, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { ConfigError } from "../base/errors.js";
import { readRunFile } from "./run-file.js";
import { isMethod, registerMethod } from "../peft/method-registry.js";

const FLAG = "--plugin";

/** Where a module is: a path from the current folder, or a package as a program in that folder would find it. */
function locate(module: string): string {
  if (isAbsolute(module) || /^\.{1,2}[\\/]/.test(module) || /\.[cm]?js$/.test(module))
    return pathToFileURL(resolve(module)).href;
  return pathToFileURL(createRequire(resolve("plugins.js")).resolve(module)).href;
}

function failed(module: string, error: unknown): ConfigError {
  const code = (error as { readonly code?: string }).code;
  const missing = code === "ERR_MODULE_NOT_FOUND" || code === "MODULE_NOT_FOUND";
  return new ConfigError({
    code: "plugin_unreadable",
    summary: `The plug-in ${module} cannot be loaded.`,
    facts: [["reason", (error as Error).message.split("\n")[0]!]],
    fixes: missing ? ["name a file with its path (./method.js), or install the package in this folder"] : [],
    fields: { module },
    cause: error,
  });
}

/** Registers every method that a module exports. */
async function load(module: string): Promise<void> {
  let exported: Readonly<Record<string, unknown>>;
  try {
    exported = (await import(locate(module))) as Readonly<Record<string, unknown>>;
  } catch (error) {
    throw failed(module, error);
  }
  const methods = Object.values(exported).filter(isMethod);
  if (methods.length === 0) {
    throw new ConfigError({
      code: "plugin_empty",
      summary: `The plug-in ${module} exports no method.`,
      facts: [["exports", Object.keys(exported).join(", ") || "nothing"]],
      fixes: ["export const method = defineMethod({ ... });"],
      fields: { module },
    });
  }
  for (const method of methods) registerMethod(method);
}

/** Loads what the run file of `peft train` names; a file that cannot be read is for the command to report. */
async function loadRunFilePlugins(argv: readonly string[]): Promise<void> {
  const [command, ...args] = argv;
  // Flags are not known yet, so elsewhere than in the first place the name of a file has to tell.
  const path = args.find((arg, i) => (i === 0 && !arg.startsWith("-")) || /\.ya?ml$/.test(arg));
  if (command !== "train" || path === undefined) return;
  const file = await readRunFile(path).catch(() => undefined);
  const named = file?.values["plugin"];
  for (const module of typeof named === "string" ? [named] : Array.isArray(named) ? named : [])
    if (typeof module === "string") await load(module);
}

/**
 * Loads the modules that `--plugin` and the run file name, in their order, and answers the command line without them.
 *
 * @throws {@link ConfigError} `plugin_unnamed`, `plugin_unreadable` or `plugin_empty`
 */
export async function loadPlugins(argv: readonly string[]): Promise<string[]> {
  const rest: string[] = [];
  for (let i = 0; i < argv.length; i += 1) {
    const arg = argv[i]!;
    if (arg !== FLAG && !arg.startsWith(`${FLAG}=`)) {
      rest.push(arg);
      continue;
    }
    const module = arg === FLAG ? argv[(i += 1)] : arg.slice(FLAG.length + 1);
    if (module === undefined || module === "" || module.startsWith("--")) {
      throw new ConfigError({
        code: "plugin_unnamed",
        summary: `${FLAG} needs the module to load.`,
        fixes: [`peft ${FLAG} ./method.js methods`],
      });
    }
    await load(module);
  }
  await loadRunFilePlugins(rest);
  return rest;
}
