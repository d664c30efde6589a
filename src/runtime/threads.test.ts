import { availableParallelism } from "node:os";
import { describe, expect, test, vi } from "vitest";
import { createEngine } from "./engines.js";
import { defaultThreads } from "./threads.js";

const siblingsOf = (cpu: number) => `/sys/devices/system/cpu/cpu${cpu}/topology/thread_siblings_list`;
const on = (available: number, files: Readonly<Record<string, string>>) =>
  defaultThreads({ available, read: (path) => files[path] });
const allowed = (list: string) => ({ "/proc/self/status": `Name:\tnode\nCpus_allowed_list:\t${list}\n` });
/** `count` logical processors; those of one core are half of all apart, as Linux numbers them. */
const paired = (count: number) =>
  Object.fromEntries(
    Array.from({ length: count }, (_, cpu) => {
      const first = cpu % (count / 2);
      return [siblingsOf(cpu), `${first},${first + count / 2}\n`] as const;
    }),
  );

describe("the default number of threads", () => {
  test("is that of the processors where the system says no more", () => expect(on(6, {})).toBe(6));

  test("is that of physical cores, among those that the process may run on", () => {
    expect(on(8, { ...allowed("0-7"), ...paired(8) })).toBe(4);
    expect(on(3, { ...allowed("0-1,4"), ...paired(8) })).toBe(2);
    expect(on(2, { ...allowed("0-1"), [siblingsOf(0)]: "0\n", [siblingsOf(1)]: "1\n" })).toBe(2);
  });

  test("is that of the processors where a core is not described", () => {
    expect(on(2, { ...allowed("0-1"), [siblingsOf(0)]: "0-1\n" })).toBe(2);
  });

  test.each([
    ["200000 100000", 2],
    ["150000 100000", 2],
    ["50000 100000", 1],
    ["6400000 100000", 8],
    ["max 100000", 8],
  ])("stays within what a control group grants: %s", (quota, threads) => {
    expect(on(8, { "/sys/fs/cgroup/cpu.max": `${quota}\n` })).toBe(threads);
  });

  test("reads the older form of control groups", () => {
    const period = { "/sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n" };
    expect(on(8, { "/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "300000\n", ...period })).toBe(3);
    expect(on(8, { "/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n", ...period })).toBe(8);
  });

  test("is some of this machine's", () => {
    expect(defaultThreads()).toBeGreaterThanOrEqual(1);
    expect(defaultThreads()).toBeLessThanOrEqual(availableParallelism());
  });
});

test.each(["two", "-1", "1.5"])("PEFT_THREADS=%s is refused", async (text) => {
  process.env["PEFT_THREADS"] = text;
  try {
    await expect(createEngine({ engine: "ort-node" })).rejects.toMatchObject({ code: "threads_invalid" });
  } finally {
    delete process.env["PEFT_THREADS"];
  }
});

test("threads of the options are checked as well, and win over PEFT_THREADS", async () => {
  process.env["PEFT_THREADS"] = "nonsense";
  try {
    await (await createEngine({ engine: "ort-node", threads: 1 })).close();
    await expect(createEngine({ engine: "ort-node", threads: -2 })).rejects.toMatchObject({
      code: "threads_invalid",
    });
  } finally {
    delete process.env["PEFT_THREADS"];
  }
});

test("a second engine hears that it has the threads of the first, where it asks for others", async () => {
  const first = await createEngine({ engine: "ort-native", threads: 1 });
  const warn = vi.spyOn(console, "warn").mockImplementation(() => {});
  vi.stubEnv("PEFT_THREADS", "");
  try {
    for (const threads of [undefined, 0, 1])
      await (await createEngine({ engine: "ort-native", threads })).close();
    expect(warn).not.toHaveBeenCalled();
    await (await createEngine({ engine: "ort-native", threads: 3 })).close();
    expect(warn.mock.calls).toEqual([
      [
        "peft.js: this engine computes with 1 thread and not with 3: engines of one process share the threads of the first.",
      ],
    ]);
  } finally {
    vi.unstubAllEnvs();
    warn.mockRestore();
    await first.close();
  }
});

test.each([
  ["", 2],
  ["1", 1],
  ["16", 2],
])(
  "runs under way at once are twice the threads, as far as Node's pool has threads: %j",
  async (pool, lanes) => {
    vi.stubEnv("UV_THREADPOOL_SIZE", pool);
    try {
      // The first engine of this process has one thread.
      const engine = await createEngine({ engine: "ort-native", threads: 1 });
      expect(engine.lanes).toBe(lanes);
      await engine.close();
    } finally {
      vi.unstubAllEnvs();
    }
  },
);
