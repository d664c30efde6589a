/** `loraAlpha` as `lora_alpha`, the spelling of files. */
export function toSnakeCase(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

/** `loraAlpha` as `lora-alpha`, the spelling of flags. */
export function toKebabCase(name: string): string {
  return toSnakeCase(name).replaceAll("_", "-");
}

/** `lora_alpha` or `lora-alpha` as `loraAlpha`. */
export function toCamelCase(name: string): string {
  return name.replace(/[_-]+([a-zA-Z0-9])/g, (_, letter: string) => letter.toUpperCase());
}
