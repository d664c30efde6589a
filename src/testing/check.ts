import type { Subject } from "./subject.js";

/** What a check found: it holds, or the method declares that it cannot and says so where it is tried. */
export type Finding = "holds" | "declared";

/** Something that every method has to do. */
export interface Check {
  /** A word for tables. */
  readonly name: string;
  /** A sentence for the names of tests. */
  readonly title: string;
  /** Whether it is run for every other value of the options too. */
  readonly forVariants?: boolean;
  /** Whether one model is enough, or one of every family of architectures. */
  readonly once?: boolean;
  readonly oncePerFamily?: boolean;
  /** Throws a {@link ConformanceError} where the method does not. */
  run(subject: Subject): Promise<Finding>;
}

/** Declares a check. */
export const defineCheck = (check: Check): Check => check;
