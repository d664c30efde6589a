import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { PretrainedModel } from "../auto/pretrained-model.js";
import type { OutputFolder } from "../files/folder.js";
import { type Flops, idealSeconds, NO_FLOPS, totalFlops } from "../nn/flops.js";
import { matmulPeaks } from "../nn/matmul-peak.js";
import { type ProfileRow, Profiler } from "../nn/profiler.js";
import { residentBytes } from "../runtime/memory.js";
import { formatCount } from "./format.js";
import type { Terminal } from "./terminal.js";

const SAMPLE_MS = 100;
const ROWS = 16;

/** A profile that is being taken. */
export interface RunningProfile {
  readonly profiler: Profiler;
  /** Ends it once the model is closed: prints the tables and writes profile.json, a trace for Chrome or Perfetto. */
  report(terminal: Terminal, folder: OutputFolder): Promise<void>;
}

interface NodeEvent {
  readonly cat?: string;
  readonly name: string;
  readonly dur: number;
  readonly args?: { readonly op_name?: string };
}

/** Times of single nodes, by op, from the files that the runtime wrote. */
function nodeRows(folder: string): ProfileRow[] {
  const rows = new Map<string, { calls: number; milliseconds: number }>();
  for (const file of readdirSync(folder)) {
    const events = JSON.parse(readFileSync(join(folder, file), "utf8")) as NodeEvent[];
    for (const { cat, name, dur, args } of events) {
      if (cat !== "Node" || !name.endsWith("kernel_time") || args?.op_name === undefined) continue;
      const row = rows.get(args.op_name) ?? { calls: 0, milliseconds: 0 };
      rows.set(args.op_name, { calls: row.calls + 1, milliseconds: row.milliseconds + dur / 1000 });
    }
  }
  return [...rows]
    .map(([name, row]) => ({ name, ...row, flops: NO_FLOPS, bytes: 0 }))
    .sort((a, b) => b.milliseconds - a.milliseconds);
}

/** A table of what time was spent on; shares are of `wall` milliseconds, products are compared with `peaks`, operations a second. */
export function profileLines(
  title: string,
  rows: readonly ProfileRow[],
  wall: number,
  peaks: Flops,
): string[] {
  const shown = rows.slice(0, ROWS);
  const width = Math.max(title.length, ...shown.map(({ name }) => name.length));
  const line = (cells: readonly [string, string, string, string, string, string]): string =>
    [cells[0].padEnd(width), ...cells.slice(1).map((cell) => cell.padStart(10))].join("").trimEnd();
  return [
    line([title, "calls", "ms", "share", "GFLOP/s", "of peak"]),
    ...shown.map(({ name, calls, milliseconds, flops }) => {
      const seconds = milliseconds / 1000;
      const count = totalFlops(flops);
      return line([
        name,
        formatCount(calls),
        formatCount(Math.round(milliseconds)),
        `${((100 * milliseconds) / wall).toFixed(1)} %`,
        count === 0 ? "" : (count / seconds / 1e9).toFixed(0),
        count === 0 ? "" : `${((100 * idealSeconds(flops, peaks)) / seconds).toFixed(0)} %`,
      ]);
    }),
  ];
}

/**
 * Takes a profile of all that a model runs from now on: by part of the model and pass, by op of the runtime, and resident memory
 * over time. The times of single ops make small models slower than they are without.
 */
export async function startProfile(base: PretrainedModel): Promise<RunningProfile> {
  const peaks = await matmulPeaks(base.engine);
  const nodes = mkdtempSync(join(tmpdir(), "peft-profile-"));
  const profiler = new Profiler(join(nodes, "nodes"));
  base.runner.sessions.profiler = profiler;
  const timer = setInterval(() => profiler.sample("resident bytes", residentBytes()), SAMPLE_MS);
  timer.unref();
  const began = performance.now();
  return {
    profiler,
    async report(terminal, folder) {
      clearInterval(timer);
      const wall = performance.now() - began;
      const parts = profiler.table();
      const inside = parts.reduce((sum, { milliseconds }) => sum + milliseconds, 0);
      const outside = {
        name: "outside the runtime",
        calls: 1,
        milliseconds: Math.max(0, wall - inside),
        flops: NO_FLOPS,
        bytes: 0,
      };
      terminal.line();
      terminal.line(
        `profile: ${formatCount(Math.round(wall))} ms; matrix products reach ${(peaks.float32 / 1e9).toFixed(0)} GFLOP/s here, ${(peaks.int8 / 1e9).toFixed(0)} in 8 bits`,
      );
      for (const line of profileLines("part", [...parts, outside], wall, peaks)) terminal.line(line);
      terminal.line();
      for (const line of profileLines("op of the runtime", nodeRows(nodes), wall, peaks)) terminal.line(line);
      await folder.json("profile.json", profiler.chromeTrace());
      terminal.line();
      terminal.line(
        `trace: ${join(folder.path, "profile.json")}   (open it in chrome://tracing or ui.perfetto.dev)`,
      );
      rmSync(nodes, { recursive: true });
    },
  };
}
