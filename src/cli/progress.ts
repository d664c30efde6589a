import type { TrainEvent } from "../train/event.js";
import { formatBytes, formatRate, formatSeconds } from "./format.js";
import type { Terminal } from "./terminal.js";

type StepEvent = Extract<TrainEvent, { type: "step" }>;

const WIDTH = 20;

/** `42% ████████░░░░ 32/76  loss 1.234  lr 1.9e-4  245 tok/s  0:12<0:20`. */
export function progressLine(event: StepEvent): string {
  const share = event.step / event.totalSteps;
  const full = Math.round(share * WIDTH);
  const bar = `${"█".repeat(full)}${"░".repeat(WIDTH - full)}`;
  const percent = `${Math.floor(share * 100)}%`.padStart(4);
  return [
    `${percent} ${bar} ${event.step}/${event.totalSteps}`,
    `loss ${event.loss.toFixed(4)}`,
    `lr ${formatRate(event.learningRate)}`,
    `${Math.round(event.tokensPerSecond)} tok/s`,
    `${formatSeconds(event.elapsedSeconds)}<${formatSeconds(event.remainingSeconds)}`,
  ].join("  ");
}

/** Shows a run: one line in place on a terminal; on anything else a line at every twentieth of the way. */
export function showProgress(terminal: Terminal): (event: TrainEvent) => void {
  let lastPart = -1;
  return (event) => {
    if (event.type === "start") {
      terminal.note(`optimizer: ${event.optimizer}, ${formatBytes(event.optimizerBytes)} of running means`);
    } else if (event.type === "step") {
      if (terminal.interactive) {
        terminal.progress(progressLine(event));
        return;
      }
      const part = Math.floor((20 * event.step) / event.totalSteps);
      if (part === lastPart && event.step !== 1) return;
      lastPart = part;
      terminal.note(progressLine(event));
    } else if (event.type === "eval") {
      const measures = Object.entries(event.metrics).map(([name, value]) => `  ${name} ${value.toFixed(4)}`);
      terminal.note(
        `eval  step ${event.step}  epoch ${event.epoch.toFixed(2)}  held-out loss ${event.loss.toFixed(4)}${measures.join("")}`,
      );
    } else if (event.type === "end") {
      terminal.progress("");
    }
  };
}
