import { readFileSync } from "node:fs";

/** The text of a file in which the system describes itself; undefined where there is none, or it may not be read. */
export function systemText(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}
