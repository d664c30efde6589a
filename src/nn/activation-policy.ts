import { BYTES_PER_ELEMENT, type Dim } from "../base/tensor-type.js";
import type { Plan, PlannedTokens } from "./plan.js";
import type { Over } from "./stage.js";
import type { TokenProgram } from "./token-program.js";

/** Bytes a token that a program keeps for the backward pass; sizes other than the token count come from `sizes`. */
function savedBytesPerToken(program: TokenProgram): number {
  let bytes = 0;
  for (const { dtype, shape } of program.saved) {
    // A symbolic size beside the tokens is the rank of an adapter; 16 stands in, its share is small.
    const width = shape
      .slice(1)
      .reduce((total: number, dim: Dim) => total * (typeof dim === "number" ? dim : 16), 1);
    bytes += BYTES_PER_ELEMENT[dtype] * width;
  }
  return bytes;
}

/** What was decided about the activations of one step, and why. */
export interface ActivationPolicy {
  readonly choices: ReadonlyMap<PlannedTokens, "save" | "recompute">;
  readonly savedBytes: number;
  readonly wantedBytes: number;
  readonly budgetBytes: number;
}

/**
 * Keeps the matrix products of as many stages as the budget allows, the last stages first: their memory is free again
 * soonest. The others compute theirs a second time.
 */
export function chooseActivations(
  plan: Plan,
  tokens: (over: Over) => number,
  budgetBytes: number,
): ActivationPolicy {
  const choices = new Map<PlannedTokens, "save" | "recompute">();
  let savedBytes = 0;
  let wantedBytes = 0;
  for (const stage of [...plan.stages].reverse()) {
    if (stage.kind !== "tokens" || stage.save.backward === undefined) continue;
    const bytes = savedBytesPerToken(stage.save) * (stage.rows ?? tokens(stage.over));
    wantedBytes += bytes;
    const save = savedBytes + bytes <= budgetBytes;
    if (save) savedBytes += bytes;
    choices.set(stage, save ? "save" : "recompute");
  }
  return { choices, savedBytes, wantedBytes, budgetBytes };
}
