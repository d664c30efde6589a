// The test command: types, lint, format, build, then all tests; it ends with the plain line "N passed, N failed".
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const args = process.argv.slice(2);
const bin = (name) => join("node_modules", ".bin", name);

/** Runs a step; a failed one ends the run, counted as one failure. */
function step(title, command, options) {
  const { status } = spawnSync(command, options, { stdio: "inherit", shell: process.platform === "win32" });
  if (status === 0) return;
  console.error(`${title} failed`);
  console.log("0 passed, 1 failed");
  process.exit(1);
}

step("kernels", process.execPath, ["scripts/build-kernels.mjs"]);
step("type check", bin("tsc"), ["--noEmit"]);
step("lint", bin("oxlint"), []);
step("format check", bin("oxfmt"), ["--check"]);
step("build", bin("tsc"), ["-p", "tsconfig.build.json"]);
step("bundle", process.execPath, ["scripts/build-bundle.mjs"]);

const folder = mkdtempSync(join(tmpdir(), "peft-tests-"));
const report = join(folder, "report.json");
const flags = ["run", "--reporter=dot", "--reporter=json", `--outputFile.json=${report}`, ...args];
const { status } = spawnSync(bin("vitest"), flags, { stdio: "inherit", shell: process.platform === "win32" });
let failed = 1;
try {
  const result = JSON.parse(readFileSync(report, "utf8"));
  const broken = result.testResults.filter(
    (file) => file.status === "failed" && file.assertionResults.length === 0,
  ).length;
  failed = result.numFailedTests + broken;
  console.log(`${result.numPassedTests} passed, ${failed} failed`);
} catch {
  console.log("0 passed, 1 failed");
}
rmSync(folder, { recursive: true });
process.exit(status !== 0 || failed > 0 ? 1 : 0);
