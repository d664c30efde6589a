import { largeBuffers } from "../base/large-buffer.js";
import { ScratchFile } from "../files/scratch-file.js";
import type { Engine } from "../runtime/engine.js";
import { residentBytes } from "../runtime/memory.js";
import type { ActivationPolicy } from "./activation-policy.js";
import { AttentionRunner } from "./attention-runner.js";
import { BufferPool } from "./buffer-pool.js";
import type { LargestInt8 } from "../steps/to-int8.js";
import { Int8Weights } from "./int8-weights.js";
import type { Observer } from "./observe.js";
import { OffloadedTensors } from "./offloaded-tensors.js";
import { type MemoryPlan, planMemory, resting, unlimited } from "./memory-plan.js";
import { Pass, type PassOptions } from "./pass.js";
import { LentWeights } from "./lent-weights.js";
import { makePlan, type Plan } from "./plan.js";
import { CHUNK_SIZES, type ChunkSizes } from "./row-chunks.js";
import { SessionCache } from "./session-cache.js";
import { StepMachine } from "./step-machine.js";
import type { StagedModel, TokenBatch } from "./stage.js";
import type { Products } from "./trace.js";
import { makeRoom, virtualTokensOf } from "./virtual-tokens.js";

/** What matrix products with frozen weights are computed in. */
export type Arithmetic = "float32" | "int8";

export interface RunnerOptions {
  readonly arithmetic?: Arithmetic | undefined;
  /** The largest code of weights in 8 bits whose products this machine adds exactly. @defaultValue 127 */
  readonly largestInt8?: LargestInt8 | undefined;
  /** Whether this machine adds products of blocks with codes of 8 bits exactly. @defaultValue false */
  readonly byteBlocks?: boolean | undefined;
  /** Bytes of activations kept for the backward pass, as far as they can be computed again; without it, all are kept. */
  readonly activationBytes?: number | undefined;
  /** Bytes that the process should not exceed while it trains. */
  readonly memoryBytes?: number | undefined;
  /** Folder of a file for what the backward pass reads again; without it, that stays in memory. */
  readonly offloadFolder?: string | undefined;
  /** Folder of such a file for passes over more tokens than the memory limit leaves room for. */
  readonly spillFolder?: string | undefined;
  readonly onWarning?: ((text: string) => void) | undefined;
}

const mib = (bytes: number): string => `${Math.ceil(bytes / 2 ** 20).toLocaleString("en")} MiB`;

/** Runs the stages of a model forward and backward, sharing compiled graphs between layers and memory between steps. */
export class Runner {
  readonly sessions: SessionCache;
  readonly pool: BufferPool;
  readonly attention: AttentionRunner;
  readonly weights: LentWeights;
  /** Runs small steps over weights in blocks. */
  readonly steps: StepMachine;
  /** When stages are run on some tokens at a time. */
  chunks: ChunkSizes = CHUNK_SIZES;
  readonly #scratch: ScratchFile | undefined;
  /** Whether every pass puts what waits in the file, or only one that memory has no room for. */
  readonly #always: boolean;
  /** What was decided about activations in the last step with gradients. */
  lastPolicy: ActivationPolicy | undefined;
  #plans = new Map<string, Plan>();
  #trains = false;
  /** Whether graphs that training has given up are still open. */
  #stale = false;
  /** Passes that have not been released, and other work with graphs. */
  readonly #passes = new Set<object>();
  #residentAtStart = 0;
  #memory: { readonly held: MemoryPlan; readonly spilled: MemoryPlan | undefined } | undefined;
  #warned = false;
  #spilled = false;
  #observed: { readonly observer: Observer; readonly plan: Plan } | undefined;

  constructor(
    readonly model: StagedModel,
    readonly engine: Engine,
    readonly options: RunnerOptions = {},
  ) {
    this.sessions = new SessionCache(engine);
    this.steps = new StepMachine(engine);
    const buffers = largeBuffers(engine.capabilities);
    this.pool = new BufferPool(buffers);
    this.weights = new LentWeights(
      this.pool,
      options.memoryBytes === undefined,
      new Int8Weights(options.largestInt8 ?? 127, buffers),
    );
    this.attention = new AttentionRunner(this.sessions, this.pool);
    const folder = options.offloadFolder ?? options.spillFolder;
    this.#scratch = folder === undefined ? undefined : new ScratchFile(folder);
    this.#always = options.offloadFolder !== undefined;
  }

  /** Must be called when adapters come, go, or change what is trained. */
  invalidate(): void {
    this.#plans.clear();
    this.#memory = undefined;
    this.#observed = undefined;
  }

  /** How products are computed: with blocks as they are until the first step of a training, which decodes them once. */
  get products(): Products {
    const { arithmetic, byteBlocks = false } = this.options;
    return { packed: !this.#trains, int8: arithmetic === "int8", bytes: byteBlocks };
  }

  /** Whether weights that have to be decoded stay in memory once they were: not in 8 bits, and not under a limit. */
  get keepsDecoded(): boolean {
    return this.weights.keep && this.products.int8 !== true;
  }

  /** Decoded weights serve all passes from now on; the graphs that have them in blocks are given up. */
  async #startTraining(): Promise<void> {
    this.#trains = true;
    this.#plans.clear();
    this.#stale = true;
    await this.#closeStale();
    this.#residentAtStart = residentBytes();
  }

  /** How the memory of a step is divided; looked at before the first one, since what is resident then stays. */
  get #division(): { readonly held: MemoryPlan; readonly spilled: MemoryPlan | undefined } {
    const { vocabularySize = 0, width = 0 } = this.model.inputEmbedding ?? {};
    if (!this.#trains) return { held: resting(vocabularySize), spilled: undefined };
    if (this.#memory !== undefined) return this.#memory;
    const { memoryBytes: limit, activationBytes = Infinity } = this.options;
    const plan = this.plan({ training: true, gradients: true });
    if (limit === undefined) {
      const held = unlimited(plan, { vocabularySize, activationBytes, offloads: this.#always });
      return (this.#memory = { held, spilled: undefined });
    }
    // In floats for gradients, and in 8 bits for scores.
    const headWidth = this.products.int8 === true ? 5 : 4;
    const headBytes = this.model.reads === "each" ? headWidth * vocabularySize * width : 0;
    const resident = this.#residentAtStart;
    const { chunks } = this;
    const given = { limit, resident, vocabularySize, headBytes, activationBytes, chunks };
    const held = planMemory(plan, { ...given, offloads: this.#always });
    const spills = this.#scratch !== undefined && !this.#always;
    this.#memory = { held, spilled: spills ? planMemory(plan, { ...given, offloads: true }) : undefined };
    this.pool.limit = held.poolBytes;
    return this.#memory;
  }

  /** How the memory of a pass is divided that has room for all it keeps. */
  get memory(): MemoryPlan {
    return this.#division.held;
  }

  /** What a pass over so many tokens may keep, and where it puts what waits for its backward pass; nothing where that stays in memory. */
  room(tokens: number, gradients: boolean): { activationBytes: number; offloaded?: OffloadedTensors } {
    const { held, spilled } = this.#division;
    const spills = gradients && spilled !== undefined && tokens > held.passTokens;
    if (spills) this.#noteSpill(tokens);
    const activationBytes = (spills ? spilled : held).activationBytes(tokens);
    if (!gradients || this.#scratch === undefined || !(spills || this.#always)) return { activationBytes };
    return { activationBytes, offloaded: new OffloadedTensors(this.#scratch, this.pool) };
  }

  #noteSpill(tokens: number): void {
    const { onWarning = console.warn, memoryBytes = Infinity } = this.options;
    if (!this.#spilled)
      onWarning(
        `${tokens.toLocaleString("en")} tokens at once do not fit the memory limit of ${mib(memoryBytes)}: what such a batch keeps for its backward pass waits in a file in ${this.#scratch!.folder}`,
      );
    this.#spilled = true;
  }

  /** Tokens that a pass with gradients may run; the first call is the start of a training. */
  async passTokens(longest: number): Promise<number> {
    if (!this.#trains) await this.#startTraining();
    const { memoryBytes: limit = Infinity, onWarning = console.warn } = this.options;
    const { held, spilled } = this.#division;
    const { least, passTokens } = spilled ?? held;
    if (least(longest) > limit && !this.#warned) {
      this.#warned = true;
      onWarning(
        `a row of ${longest.toLocaleString("en")} tokens needs about ${mib(least(longest))}, more than the memory limit of ${mib(limit)}: shorten the rows, or allow more`,
      );
    }
    return passTokens;
  }

  plan(options: { training: boolean; gradients: boolean }): Plan {
    const key = `${options.training}/${options.gradients}`;
    let plan = this.#plans.get(key);
    if (plan === undefined) {
      plan = makePlan(this.model, { ...options, products: this.products });
      this.#plans.set(key, plan);
    }
    return plan;
  }

  /** The plan of a forward pass that somebody looks at; that of the last observer is kept. */
  #observedPlan(observer: Observer): Plan {
    if (this.#observed?.observer !== observer) {
      const { modules: observed } = observer;
      const plan = makePlan(this.model, { training: false, gradients: false, observed });
      this.#observed = { observer, plan };
    }
    return this.#observed.plan;
  }

  /** Runs all stages; the result holds the hidden states, and what the backward pass needs where asked for. */
  async forward(batch: TokenBatch, options: PassOptions = {}): Promise<Pass> {
    const { training = false, gradients = false } = options;
    if (gradients && !this.#trains) await this.#startTraining();
    const virtual = makeRoom(batch, virtualTokensOf(this.model), { cached: options.cache?.empty === false });
    const { observer } = options;
    const plan = observer === undefined ? this.plan({ training, gradients }) : this.#observedPlan(observer);
    const pass = new Pass(this, plan, virtual, options);
    this.#passes.add(pass);
    try {
      await pass.run();
    } catch (error) {
      pass.release();
      throw error;
    }
    return pass;
  }

  async #closeStale(): Promise<void> {
    if (!this.#stale || this.#passes.size > 0) return;
    this.#stale = false;
    await this.sessions.closeWithConstants();
    await this.steps.close();
  }

  /** Called by every pass when it is released: graphs that training has given up may have served others until then. */
  passReleased(pass: Pass): void {
    this.#passes.delete(pass);
    void this.#closeStale();
  }

  /** Keeps the graphs that some work runs open until it is done. */
  async during<T>(work: () => Promise<T>): Promise<T> {
    this.#passes.add(work);
    try {
      return await work();
    } finally {
      this.#passes.delete(work);
      void this.#closeStale();
    }
  }

  async close(): Promise<void> {
    this.pool.trim();
    await this.sessions.close();
    await this.steps.close();
    await this.#scratch?.close();
  }
}
