import { availableParallelism } from "node:os";
import { systemText } from "./system-file.js";

/** What the system says of its processors; read from Linux's files, where there are such. */
export interface Processors {
  /** Logical processors that this process may run on. */
  readonly available: number;
  /** The text of a file of the system; undefined where there is none. */
  readonly read: (path: string) => string | undefined;
}

/** The numbers of a list such as "0-3,8". */
function listed(text: string): readonly number[] {
  return text.split(",").flatMap((part) => {
    const [first, last = first] = part.split("-").map(Number);
    return Array.from({ length: last! - first! + 1 }, (_, i) => first! + i);
  });
}

/** Processors that a control group grants by time, as `docker --cpus` sets it; a part of one counts as one. */
function granted({ read: text }: Processors): number {
  const whole = text("/sys/fs/cgroup/cpu.max")?.split(" ") ?? [
    text("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"),
    text("/sys/fs/cgroup/cpu/cpu.cfs_period_us"),
  ];
  const share = Number(whole[0]) / Number(whole[1]);
  return share > 0 && Number.isFinite(share) ? Math.ceil(share) : Infinity;
}

/** Cores behind the logical processors that this process may run on: two of one core share what multiplies. */
function cores({ available, read: text }: Processors): number {
  const allowed = /^Cpus_allowed_list:\s*(\S+)/m.exec(text("/proc/self/status") ?? "")?.[1];
  if (allowed === undefined) return available;
  const siblings = listed(allowed).map((cpu) =>
    text(`/sys/devices/system/cpu/cpu${cpu}/topology/thread_siblings_list`)?.trim(),
  );
  return siblings.includes(undefined) ? available : new Set(siblings).size;
}

/**
 * Threads that computing takes unless it is told: one for every physical core that this process may use, no more than its
 * control group grants, at least one.
 *
 * It is read and not measured, so that a machine that is busy for a moment does not change how a run goes.
 */
export function defaultThreads(
  processors: Processors = { available: availableParallelism(), read: systemText },
): number {
  return Math.max(1, Math.min(processors.available, cores(processors), granted(processors)));
}
