/** The suite that every method of peft.js passes, for methods of other packages: `peft.js/testing`. */
export {
  ConformanceBench,
  type ConformanceCase,
  type ConformanceOptions,
  type ConformanceResult,
  checks,
  type Outcome,
} from "./bench.js";
export type { Check, Finding } from "./check.js";
export { ConformanceError } from "./conformance-error.js";
export { conformanceReport } from "./report.js";
export { tinyConfig } from "./tiny-model.js";
