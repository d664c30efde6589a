import { execFileSync } from "node:child_process";
import { defineConfig } from "vitest/config";

// The kernels are compiled before anything is read that needs them.
execFileSync(process.execPath, ["scripts/build-kernels.mjs"], { stdio: "inherit" });

export default defineConfig({
  test: {
    include: ["src/**/*.test.ts", "test/**/*.test.ts"],
    pool: "forks",
    testTimeout: 60_000,
    coverage: { provider: "v8", include: ["src/**"], reporter: ["text-summary", "lcov"] },
  },
});
