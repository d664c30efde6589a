import { addFlops, type Flops, NO_FLOPS, totalFlops } from "./flops.js";

/** One piece of work, in milliseconds of the process clock. */
export interface Span {
  /** What was run: a part of the model and its pass, such as `layers.*.attention_in backward`; or `optimizer`, `data`. */
  readonly name: string;
  readonly start: number;
  readonly duration: number;
  /** What it took of the time: beside another it had half of it. */
  readonly share: number;
  /** Which of those that were under way at once it was, from 0. */
  readonly lane: number;
  /** Operations of its matrix products. */
  readonly flops: Flops;
  /** Bytes of the tensors that it reads and writes. */
  readonly bytes: number;
}

/** A span that has begun. */
export interface RunningSpan {
  end(flops?: Flops, bytes?: number): void;
}

/** A number over time, such as resident memory. */
export interface Sample {
  readonly name: string;
  readonly time: number;
  readonly value: number;
}

/** All spans of one name. */
export interface ProfileRow {
  readonly name: string;
  readonly calls: number;
  readonly milliseconds: number;
  readonly flops: Flops;
  readonly bytes: number;
}

/**
 * Collects what a model spends its time on, graph by graph.
 *
 * @example
 * const profiler = new Profiler();
 * base.runner.sessions.profiler = profiler;
 * await model.backward(batch);
 * profiler.table()[0]; // the dearest part
 */
export class Profiler {
  readonly spans: Span[] = [];
  readonly samples: Sample[] = [];

  /** @param nodePrefix - where the runtime writes the times of single nodes, for sessions compiled from now on. */
  constructor(readonly nodePrefix?: string) {}

  record(name: string, start: number, flops = NO_FLOPS, bytes = 0): void {
    const duration = performance.now() - start;
    this.spans.push({ name, start, duration, share: duration, lane: 0, flops, bytes });
  }

  /** Begins a span of what may run beside others of its kind. */
  begin(name: string): RunningSpan {
    const start = this.#passTime();
    let lane = 0;
    while (this.#running.has(lane)) lane += 1;
    const own = { share: 0 };
    this.#running.set(lane, own);
    return {
      end: (flops = NO_FLOPS, bytes = 0) => {
        const duration = this.#passTime() - start;
        this.#running.delete(lane);
        this.spans.push({ name, start, duration, share: own.share, lane, flops, bytes });
      },
    };
  }
  readonly #running = new Map<number, { share: number }>();
  #last = 0;

  /** Gives the time since the last call to what was under way, in equal parts; returns the time. */
  #passTime(): number {
    const now = performance.now();
    for (const span of this.#running.values()) span.share += (now - this.#last) / this.#running.size;
    this.#last = now;
    return now;
  }

  sample(name: string, value: number): void {
    this.samples.push({ name, time: performance.now(), value });
  }

  /** Spans by name, the dearest first. */
  table(): ProfileRow[] {
    const rows = new Map<string, ProfileRow>();
    for (const { name, share, flops, bytes } of this.spans) {
      const row = rows.get(name) ?? { name, calls: 0, milliseconds: 0, flops: NO_FLOPS, bytes: 0 };
      rows.set(name, {
        name,
        calls: row.calls + 1,
        milliseconds: row.milliseconds + share,
        flops: addFlops(row.flops, flops),
        bytes: row.bytes + bytes,
      });
    }
    return [...rows.values()].sort((a, b) => b.milliseconds - a.milliseconds);
  }

  /** Everything in the format of Chrome's trace viewer (chrome://tracing, Perfetto). */
  chromeTrace(): object {
    const micro = (milliseconds: number): number => Math.round(milliseconds * 1000);
    return {
      traceEvents: [
        ...this.spans.map(({ name, start, duration, lane, flops }) => ({
          name,
          ph: "X",
          ts: micro(start),
          dur: micro(duration),
          pid: 1,
          tid: 1 + lane,
          args: totalFlops(flops) === 0 ? {} : { gflops: totalFlops(flops) / duration / 1e6 },
        })),
        ...this.samples.map(({ name, time, value }) => ({
          name,
          ph: "C",
          ts: micro(time),
          pid: 1,
          args: { [name]: value },
        })),
      ],
      displayTimeUnit: "ms",
    };
  }
}
