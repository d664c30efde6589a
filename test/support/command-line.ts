import { spawnSync } from "node:child_process";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const ROOT = join(import.meta.dirname, "../..");

/** The program as a person starts it. */
export const bin = join(ROOT, "bin/peft.js");

/** What a run of the command line left. */
export interface Run {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

/** A temporary folder and the command line in it; texts have DIR and ROOT in the place of paths. */
export function commandLine(name: string) {
  const folder = mkdtempSync(join(tmpdir(), `peft-${name}-`));
  const clean = (text: string): string => text.replaceAll(folder, "DIR").replaceAll(ROOT, "ROOT");
  const peft = (...args: string[]): Run => {
    const { status, stdout, stderr } = spawnSync("node", [bin, ...args], { encoding: "utf8", cwd: folder });
    return { code: status, out: clean(stdout), err: clean(stderr) };
  };
  return {
    folder,
    at: (...parts: string[]): string => join(folder, ...parts),
    clean,
    peft,
    /** The same with the arguments in a line. */
    line: (text: string): Run => peft(...text.split(" ")),
  };
}
