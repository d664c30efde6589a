import { ConfigError } from "../base/errors.js";
import { suggest } from "../base/suggest.js";

/** The error for a name that no adapter of a model has. */
export function unknownAdapter(name: string, names: readonly string[]): ConfigError {
  const near = suggest(name, names);
  return new ConfigError({
    code: "adapter_unknown",
    summary: `There is no adapter called "${name}".`,
    facts: [
      ...(near.length > 0 ? [["nearest", near.join(", ")] as const] : []),
      ["adapters", names.join(", ") || "none"],
    ],
    fields: { name, adapters: names },
  });
}

/**
 * Refuses names that cannot be part of parameter names and folders, and names that are taken.
 *
 * @throws {@link ConfigError} `adapter_name` or `adapter_exists`
 */
export function checkAdapterName(name: string, names: readonly string[]): void {
  if (!/^[\w-]+$/.test(name)) {
    throw new ConfigError({
      code: "adapter_name",
      summary: `"${name}" cannot be the name of an adapter: letters, digits, _ and - can be used.`,
      fields: { name },
    });
  }
  if (!names.includes(name)) return;
  throw new ConfigError({
    code: "adapter_exists",
    summary: `There is an adapter called "${name}" already.`,
    fixes: ["choose another adapterName", `delete it first: model.deleteAdapter("${name}")`],
    fields: { name },
  });
}
