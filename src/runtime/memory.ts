import { freemem } from "node:os";
import { systemText } from "./system-file.js";

function readNumber(path: string, pattern: RegExp): number | undefined {
  const match = pattern.exec(systemText(path) ?? "");
  return match?.[1] === undefined ? undefined : Number(match[1]);
}

/** Resident memory of this process in bytes. */
export function residentBytes(): number {
  return process.memoryUsage.rss();
}

/** The most resident memory that this process ever had, in bytes. */
export function peakResidentBytes(): number {
  const kilobytes = readNumber("/proc/self/status", /VmHWM:\s+(\d+) kB/);
  return kilobytes === undefined ? process.resourceUsage().maxRSS * 1024 : kilobytes * 1024;
}

/** Memory that a process could still get, in bytes; a limit of its control group counts. */
export function availableMemoryBytes(): number {
  const kilobytes = readNumber("/proc/meminfo", /MemAvailable:\s+(\d+) kB/);
  const machine = kilobytes === undefined ? freemem() : kilobytes * 1024;
  const limit = readNumber("/sys/fs/cgroup/memory.max", /^(\d+)/);
  const used = readNumber("/sys/fs/cgroup/memory.current", /^(\d+)/);
  return limit === undefined || used === undefined ? machine : Math.min(machine, limit - used);
}
