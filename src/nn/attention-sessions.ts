import type { Session } from "../runtime/engine.js";
import { type AttentionGraphs, attentionGraphs } from "./attention-program.js";
import type { SessionCache } from "./session-cache.js";
import type { AttentionStage } from "./stage.js";

/** What a gradient graph is made for. */
interface BackwardChoices {
  /** Whether gradients of keys and values are added to those so far. */
  readonly accumulate: boolean;
  readonly trainsBias: boolean;
}

/** The compiled graphs of attention, shared by all stages of one kind; `alone` ones have a thread each. */
export class AttentionSessions {
  readonly #sessions = new Map<string, Promise<Session>>();

  constructor(readonly cache: SessionCache) {}

  forward(stage: AttentionStage, masked: boolean, alone: boolean): Promise<Session> {
    return this.#get("forward", stage, { masked, accumulate: false, trainsBias: false }, alone);
  }

  backward(
    stage: AttentionStage,
    masked: boolean,
    alone: boolean,
    choices: BackwardChoices,
  ): Promise<Session> {
    return this.#get("backward", stage, { masked, ...choices }, alone);
  }

  #get(
    pass: keyof AttentionGraphs,
    stage: AttentionStage,
    choices: BackwardChoices & { readonly masked: boolean },
    alone: boolean,
  ): Promise<Session> {
    const { heads, keyValueHeads, headDim, scale, cap, bias } = stage;
    const { masked, accumulate, trainsBias } = choices;
    const sizes = [heads, keyValueHeads, headDim, scale, cap, bias?.buckets];
    const key = [pass, ...sizes, masked, accumulate, trainsBias, alone].join();
    let session = this.#sessions.get(key);
    if (session === undefined) {
      session = this.cache.compile(attentionGraphs(stage, choices)[pass], { alone });
      this.#sessions.set(key, session);
    }
    return session;
  }
}
