import { ConfigError, UnsupportedError } from "../base/errors.js";
import { toSnakeCase } from "../base/spelling.js";
import { allMethods } from "./method-registry.js";

type Values = Readonly<Record<string, unknown>>;

/** What AdapterHub takes for keys of a `BnConfig` that a file leaves out, where methods differ. */
const OPEN: Values = {
  init_weights: "bert",
  is_parallel: false,
  original_ln_before: false,
  phm_layer: false,
  scaling: 1,
};

const NEEDED = ["mh_adapter", "output_adapter", "reduction_factor", "non_linearity"];

/** Names of activations before AdapterHub wrote its version into files. */
const RENAMED: Readonly<Record<string, string>> = { gelu: "gelu_new", gelu_orig: "gelu" };

/** Whether the contents of an adapter_config.json are AdapterHub's. */
export const isAdapterHub = (values: Values): boolean => !("peft_type" in values) && "config" in values;

function bottleneckConfig(values: Values, file: string): Values {
  const config = values["config"];
  if (typeof config !== "object" || config === null || Array.isArray(config)) {
    throw new ConfigError({
      code: "adapterhub_config",
      summary: `${file} names its configuration (${JSON.stringify(config)}) and does not hold it.`,
      fixes: ["save the adapter again with a recent adapters: save_adapter(folder, name)"],
      fields: { file, config },
    });
  }
  const { architecture = null, ...own } = config as Record<string, unknown>;
  if (architecture === null) return own;
  throw new UnsupportedError({
    code: "adapterhub_architecture",
    summary: `${file} is an adapter of AdapterHub's architecture ${JSON.stringify(architecture)}.`,
    facts: [["read from AdapterHub", "bottleneck adapters, parallel ones and Compacter"]],
    fixes: ["train it with Hugging Face PEFT, whose files of all methods are read"],
    fields: { file, architecture },
  });
}

/**
 * An adapter_config.json of AdapterHub in the words of Hugging Face PEFT.
 *
 * @param tensors - names of the tensors beside it.
 * @throws {@link ConfigError} `adapterhub_config`; {@link UnsupportedError} `adapterhub_architecture`
 */
export function fromAdapterHub(
  values: Values,
  file: string,
  tensors: readonly string[],
): Record<string, unknown> {
  const { invertible_adapter: invertible, ...written } = bottleneckConfig(values, file);
  const config: Record<string, unknown> = { ...OPEN, ...written };
  if (typeof invertible === "object" && invertible !== null)
    config["inv_adapter"] = (invertible as Values)["block_type"];
  // Old task adapters name the invertible adapter of a language adapter that they were stacked on.
  const hasInvertible = tensors.some((name) => name.includes("invertible_"));
  if (values["type"] === "text_task" && !hasInvertible) delete config["inv_adapter"];
  if ((config["inv_adapter"] ?? null) === null) delete config["inv_adapter_reduction_factor"];
  const missing = NEEDED.filter((key) => config[key] === undefined);
  if (missing.length > 0) {
    throw new ConfigError({
      code: "adapterhub_config",
      summary: `${file} lacks ${missing.join(", ")}, which every bottleneck adapter of AdapterHub has.`,
      fixes: ["save the adapter again with a recent adapters: save_adapter(folder, name)"],
      fields: { file, missing },
    });
  }
  const activation = String(config["non_linearity"]).toLowerCase();
  config["non_linearity"] =
    values["version"] === undefined ? (RENAMED[activation] ?? activation) : activation;
  const method = [...allMethods().values()].find(({ adapterHub }) => adapterHub?.(config) === true)!;
  return { ...config, peft_type: method.name, base_model_name_or_path: values["model_name"] || null };
}

/** The options of an adapter as AdapterHub's config has them. */
export function adapterHubConfig(
  options: Values,
  declared: Readonly<Record<string, { readonly fileKey?: string }>>,
  inert: Values,
): Record<string, unknown> {
  const own = Object.entries(options).map(([name, value]) => [
    declared[name]?.fileKey ?? toSnakeCase(name),
    value ?? null,
  ]);
  return { ...inert, ...Object.fromEntries(own) };
}
