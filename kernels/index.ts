// Compiled to WebAssembly by scripts/build-kernels.mjs. Programs are written by src/steps.
import { append, attend, rotate } from "./attention";
import { blocks } from "./blocks";
import { codesAsStored, codesTurned, magnitudes } from "./codes";
import { decode } from "./decode";
import { binary, copy, gather, unary } from "./elementwise";
import { denseHalf, gatherHalf } from "./halves";
import { norm, sums } from "./norms";
import { dense, denseTurned } from "./products";
import { round } from "./rounding";
import { unpack } from "./unpack";
import { grainOf, HEADER_BYTES, kernelOf, STEP_BYTES, takenOf, unitsOf } from "./step";

/** Looks at the counter that a thread takes before it sleeps between two. */
const LOOKS = 20000;

/** How long it sleeps then, in nanoseconds. */
const NAP: i64 = 20000;

/** One kernel over some of its units; the order is that of KERNELS in src/steps/kernels.ts. */
function work(step: usize, from: i32, to: i32): void {
  switch (kernelOf(step)) {
    case 0:
      return unary(step, from, to);
    case 1:
      return binary(step, from, to);
    case 2:
      return copy(step, from, to);
    case 3:
      return gather(step, from, to);
    case 4:
      return norm(step, from, to);
    case 5:
      return sums(step, from, to);
    case 6:
      return dense(step, from, to);
    case 7:
      return denseTurned(step, from, to);
    case 8:
      return round(step, from, to);
    case 9:
      return blocks(step, from, to);
    case 10:
      return append(step, from, to);
    case 11:
      return rotate(step, from, to);
    case 12:
      return unpack(step, from, to);
    case 13:
      return denseHalf(step, from, to);
    case 14:
      return gatherHalf(step, from, to);
    case 15:
      return attend(step, from, to);
    case 16:
      return decode(step, from, to);
    case 17:
      return magnitudes(step, from, to);
    case 18:
      return codesAsStored(step, from, to);
    default:
      return codesTurned(step, from, to);
  }
}

/** Waits until the counter has come to the goal. */
function wait(counter: usize, goal: i32): void {
  let looks = 0;
  let seen = atomic.load<i32>(counter);
  while (seen < goal) {
    // Nobody wakes it: on a shared machine the others may be long in coming.
    if (++looks > LOOKS) atomic.wait<i32>(counter, seen, NAP);
    seen = atomic.load<i32>(counter);
  }
}

/** Takes the next of `count` shares that no other thread has taken in this run, or −1. */
function take(taken: usize, count: i32, runs: i32): i32 {
  const end = runs * count;
  let seen = atomic.load<i32>(taken);
  while (seen < end) {
    const before = atomic.cmpxchg<i32>(taken, seen, seen + 1);
    if (before == seen) return seen - (end - count);
    seen = before;
  }
  return -1;
}

/**
 * The part of one thread in the given run of a program, the first of which is 1; it returns when all is done. A phase begins when all shares
 * of the one before are done, whoever did them: a thread that was held up finds nothing left to do, and holds nobody up.
 *
 * A phase is five words, how often its first share was taken, how many shares were done, how many there are, its steps that are one share
 * together, and those that have shares of their own; then come the steps.
 */
export function run(program: usize, runs: i32): void {
  const phases = load<i32>(program);
  let phase = program + HEADER_BYTES;
  for (let i = 0; i < phases; i++) {
    const together = load<i32>(phase, 12);
    const apart = load<i32>(phase, 16);
    const done = phase + 4;
    let step = phase + HEADER_BYTES;
    if (together > 0 && take(phase, 1, runs) == 0) {
      for (let k = 0; k < together; k++) {
        const one = step + <usize>k * STEP_BYTES;
        work(one, 0, unitsOf(one));
      }
      atomic.add<i32>(done, 1);
    }
    step += <usize>together * STEP_BYTES;
    for (let k = 0; k < apart; k++) {
      const units = unitsOf(step);
      const grain = grainOf(step);
      const shares = (units + grain - 1) / grain;
      for (;;) {
        const share = take(takenOf(step), shares, runs);
        if (share < 0) break;
        work(step, share * grain, min((share + 1) * grain, units));
        atomic.add<i32>(done, 1);
      }
      step += STEP_BYTES;
    }
    wait(done, runs * load<i32>(phase, 8));
    phase = step;
  }
}
