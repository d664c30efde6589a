import type { OptimizerName } from "./optimizers.js";

/** What happens during a run; the progress line, the log file and tests read the same stream. */
export type TrainEvent =
  | {
      readonly type: "start";
      readonly totalSteps: number;
      readonly rows: number;
      readonly trainableParameters: number;
      readonly allParameters: number;
      readonly optimizer: OptimizerName;
      /** Bytes of the running means of all trained weights. */
      readonly optimizerBytes: number;
    }
  | {
      readonly type: "step";
      /** Optimizer steps done, from 1. */
      readonly step: number;
      readonly totalSteps: number;
      /** Epochs done, with a fraction. */
      readonly epoch: number;
      /** Mean cross-entropy of the supervised tokens of the step. */
      readonly loss: number;
      readonly learningRate: number;
      /** Norm of the gradients before clipping. */
      readonly gradNorm: number;
      /** Real tokens run in this step, and those that were learnt. */
      readonly tokens: number;
      readonly supervisedTokens: number;
      readonly tokensPerSecond: number;
      readonly elapsedSeconds: number;
      readonly remainingSeconds: number;
    }
  | {
      readonly type: "eval";
      readonly step: number;
      readonly epoch: number;
      /** Mean loss over the held-out rows. */
      readonly loss: number;
      readonly supervisedTokens: number;
      /** Perplexity of a language model; accuracy and the like for other tasks. */
      readonly metrics: Readonly<Record<string, number>>;
      readonly elapsedSeconds: number;
    }
  | {
      readonly type: "end";
      /** `aborted` where the signal ended the run after a step. */
      readonly reason: "completed" | "aborted";
      readonly steps: number;
      readonly elapsedSeconds: number;
      /** Mean loss of all steps. */
      readonly loss: number;
      readonly tokens: number;
    };
