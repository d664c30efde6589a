import { ConfigError } from "../base/errors.js";
import { suggest } from "../base/suggest.js";

/** Share of the learning rate after warm-up, for a share of the way done, 0 to 1. */
const SCHEDULES = {
  linear: (done: number): number => Math.max(0, 1 - done),
  cosine: (done: number): number => Math.max(0, 0.5 * (1 + Math.cos(Math.PI * done))),
  constant: (): number => 1,
  constant_with_warmup: (): number => 1,
};

export type ScheduleName = keyof typeof SCHEDULES;

export const scheduleNames = Object.keys(SCHEDULES) as ScheduleName[];

export interface ScheduleOptions {
  /** Steps during which the rate rises from zero. */
  readonly warmupSteps?: number;
  /** Steps of the whole run. */
  readonly totalSteps: number;
}

/** Something whose learning rate can be set: an optimiser. */
interface Rated {
  learningRate: number;
}

/** Sets the learning rate of an optimiser step by step. */
export interface Scheduler {
  /** Steps counted so far. */
  readonly stepCount: number;
  /** Counts a step and sets the rate of the next one. */
  step(): void;
  /** Goes to a place in the schedule. */
  seek(step: number): void;
}

/** The factor on the learning rate at a step, counted from 0. */
export function scheduleFactor(
  name: ScheduleName,
  step: number,
  { warmupSteps = 0, totalSteps }: ScheduleOptions,
): number {
  const warmup = name === "constant" ? 0 : warmupSteps;
  if (step < warmup) return step / Math.max(1, warmup);
  return SCHEDULES[name]((step - warmup) / Math.max(1, totalSteps - warmup));
}

/**
 * Ties an optimiser's learning rate to a schedule; the rate of the first step is set at once.
 *
 * @param name - `linear`, `cosine`, `constant` or `constant_with_warmup`, as in Hugging Face.
 * @throws {@link ConfigError} `schedule_unknown`
 * @example
 * const scheduler = getScheduler("cosine", optimizer, { warmupSteps: 10, totalSteps: 200 });
 */
export function getScheduler(name: ScheduleName, optimizer: Rated, options: ScheduleOptions): Scheduler {
  if (!Object.hasOwn(SCHEDULES, name)) {
    const near = suggest(name, scheduleNames);
    throw new ConfigError({
      code: "schedule_unknown",
      summary: `There is no schedule called "${name}".`,
      facts: [
        ...(near.length > 0 ? [["nearest", near.join(", ")] as const] : []),
        ["schedules", scheduleNames.join(", ")],
      ],
      fields: { name },
    });
  }
  const base = optimizer.learningRate;
  let count = 0;
  const apply = (): void => {
    optimizer.learningRate = base * scheduleFactor(name, count, options);
  };
  apply();
  return {
    get stepCount() {
      return count;
    },
    step() {
      count += 1;
      apply();
    },
    seek(step) {
      count = step;
      apply();
    },
  };
}
