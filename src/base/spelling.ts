/** `loraAlpha` as `lora_alpha` and `loadIn4bit` as `load_in_4bit`, the spelling of files. */
export function toSnakeCase(name: string): string {
  return name.replace(/[A-Z]|\d+(?=bit)/g, (start) => `_${start.toLowerCase()}`);
}

/** `loraAlpha` as `lora-alpha`, the spelling of flags. */
export function toKebabCase(name: string): string {
  return toSnakeCase(name).replaceAll("_", "-");
}

/** `lora_alpha` or `lora-alpha` as `loraAlpha`. */
export function toCamelCase(name: string): string {
  return name.replace(/[_-]+([a-zA-Z0-9])/g, (_, letter: string) => letter.toUpperCase());
}
