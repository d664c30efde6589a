import { fileURLToPath } from "node:url";

/** A file or folder of what the package brings along. */
export function embeddedPath(...parts: readonly string[]): string {
  return fileURLToPath(new URL(["../../embedded", ...parts].join("/"), import.meta.url));
}

/** `embedded` is the model that the package brings along; everything else stays as it is. */
export const modelPath = (name: string): string => (name === "embedded" ? embeddedPath("base") : name);

/** `embedded` and `embedded/test` are the rows that the package brings along. */
export function dataPath(name: string): string {
  if (name === "embedded" || name === "embedded/train") return embeddedPath("task", "train.jsonl");
  return name === "embedded/test" ? embeddedPath("task", "test.jsonl") : name;
}
