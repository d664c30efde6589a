import type { RunOptions } from "../runtime/engine.js";
import { InternalError } from "../base/errors.js";
import { type HostTensor, hostTensor } from "../base/host-tensor.js";
import { type ActivationPolicy, chooseActivations } from "./activation-policy.js";
import { addGradient, type Resolve, resolveDims, symbolSizes } from "./graph-runner.js";
import type { KeyValueCache } from "./key-value-cache.js";
import { HeldAhead } from "./lent-weights.js";
import type { Observer } from "./observe.js";
import { PassSlots } from "./pass-slots.js";
import { passTensors, uniform } from "./pass-tensors.js";
import type { Plan, PlannedAttention, PlannedStage, PlannedTokens, Slot } from "./plan.js";
import type { Runner } from "./runner.js";
import { runTokens } from "./row-chunks.js";
import { type Over, type TokenBatch, tokensOver } from "./stage.js";
import { ROWS, TOKENS } from "./trace.js";
import type { TokenProgram } from "./token-program.js";
import { reordered, type VirtualBatch } from "./virtual-tokens.js";

export interface PassOptions extends RunOptions {
  /** Whether dropout is on. */
  readonly training?: boolean | undefined;
  /** Whether `backward` will be called. */
  readonly gradients?: boolean | undefined;
  readonly cache?: KeyValueCache | undefined;
  /** Seed of the dropout masks of this pass. */
  readonly seed?: number | undefined;
  /** Looks at what reaches modules. */
  readonly observer?: Observer | undefined;
}

/** One forward pass, and the backward pass that may follow it. */
export class Pass {
  readonly #slots: PassSlots;
  readonly #gradients = new Map<Slot, HostTensor>();
  readonly #saved = new Map<PlannedTokens, HostTensor[]>();
  readonly #ahead: HeldAhead;
  readonly #policy: ActivationPolicy;
  readonly #tensors: Readonly<Record<Over, Readonly<Record<string, HostTensor>>>>;
  readonly #stages: readonly PlannedStage[];
  readonly batch: TokenBatch;

  constructor(
    readonly runner: Runner,
    readonly plan: Plan,
    readonly virtual: VirtualBatch,
    readonly options: PassOptions,
  ) {
    const { batch } = virtual;
    this.batch = batch;
    this.#ahead = new HeldAhead(runner.weights);
    const { activationBytes, offloaded } = runner.room(batch.tokens.length, options.gradients === true);
    // Without a source, what is made of it is in the cache.
    this.#stages = plan.stages.filter(({ over }) => tokensOver(batch, over) !== undefined);
    this.#policy = chooseActivations(
      plan,
      (over) => tokensOver(batch, over)?.tokens.length ?? 0,
      activationBytes,
    );
    if (options.gradients === true) runner.lastPolicy = this.#policy;
    this.#slots = new PassSlots(runner.pool, offloaded);
    this.#tensors = passTensors(runner.model, virtual, options);
    this.#countReaders();
  }

  /** Hidden states of all real tokens, (N, D); those of virtual tokens of the input follow them. */
  get hidden(): HostTensor {
    return this.#slots.get(this.plan.hidden)!;
  }

  #program(stage: PlannedTokens): TokenProgram {
    return this.#policy.choices.get(stage) === "recompute" ? stage.recompute : stage.save;
  }

  #countReaders(): void {
    this.#slots.expect("forward", [this.plan.hidden]);
    for (const stage of this.#stages) {
      this.#slots.expect("forward", this.#reads(stage));
      this.#slots.expect("backward", this.#backwardReads(stage));
    }
  }

  /** Slots that a stage reads in this pass: keys and values of a source that is not there come from the cache. */
  #reads(stage: PlannedStage): Slot[] {
    const cached = stage.kind === "attention" && tokensOver(this.batch, stage.stage.keysOver) === undefined;
    return Object.entries(stage.reads).flatMap(([name, slot]) =>
      cached && (name === "key" || name === "value") ? [] : [slot],
    );
  }

  #backwardReads(stage: PlannedStage): Slot[] {
    if (stage.kind === "attention") return stage.backward ? Object.values(stage.reads) : [];
    const sources = this.#program(stage).backward?.sources ?? [];
    const streams = new Set(sources.flatMap((source) => (source.kind === "stream" ? [source.stream] : [])));
    return [...streams].map((stream) => stage.reads[stream]!);
  }

  async run(): Promise<void> {
    const stages = this.#stages;
    for (const [i, stage] of stages.entries()) {
      this.options.signal?.throwIfAborted();
      // Attention has no weights, so the stage behind it is the one to prepare.
      const next = stages[i + 1]?.kind === "attention" ? stages[i + 2] : stages[i + 1];
      if (stage.kind === "tokens") {
        await this.#forwardTokens(stage, next);
        for (const { modules, slot } of stage.observed)
          this.options.observer?.take(modules, this.#slots.get(slot)!, stage.over);
      } else {
        await this.#forwardAttention(stage);
      }
      await this.#slots.doneForward(this.#reads(stage));
      // A stream that nothing reads again is not kept, such as keys of a model that is cut short.
      for (const slot of Object.values(stage.writes)) if (!this.#slots.isRead(slot)) this.#slots.drop(slot);
    }
    this.#prepare(undefined);
    if (this.virtual.inserted > 0)
      this.#slots.set(this.plan.hidden, reordered(this.runner.pool, this.virtual, this.hidden, "apart"));
  }

  /** Rows of what a stage writes. */
  #rows({ rows, over }: PlannedTokens): number {
    return rows ?? tokensOver(this.batch, over)!.tokens.length;
  }

  async #forwardTokens(stage: PlannedTokens, next: PlannedStage | undefined): Promise<void> {
    const program = this.#program(stage);
    const count = this.#rows(stage);
    const sizes = symbolSizes(program.forward).set(TOKENS, count);
    sizes.set(ROWS, this.batch.rowOffsets.length - 1);
    for (const [name, slot] of Object.entries(stage.writes)) {
      this.#slots.set(slot, this.runner.pool.acquire("float32", [count, stage.widths[name]!]));
    }
    const saved = program.saved.map((type) => this.runner.pool.acquire(type.dtype, resolveDims(type, sizes)));
    this.#saved.set(stage, saved);
    const written = program.writes.map((name) => this.#slots.get(stage.writes[name]!)!);
    const resolve: Resolve = (source) => this.#resolve(stage, source);
    const prepare = (): void => this.#prepare(next);
    const given = { resolve, outputs: [...written, ...saved], count, forward: true };
    await runTokens(this.runner, program.forward, given, this.options, prepare);
  }

  /** Reads the weights of the next stage while the runtime is at work: those of packed files have to be decoded first. */
  #prepare(next: PlannedStage | undefined): void {
    this.#ahead.take(next?.kind === "tokens" ? this.#program(next).forward.sources : []);
  }

  #resolve(stage: PlannedTokens, source: Parameters<Resolve>[0]): HostTensor {
    switch (source.kind) {
      case "stream":
        return this.#slots.get(stage.reads[source.stream]!)!;
      case "gradient":
        return this.#gradients.get(stage.writes[source.stream]!)!;
      case "accumulated":
        return this.#gradients.get(stage.reads[source.stream]!)!;
      case "saved":
        return this.#saved.get(stage)![source.index]!;
      case "columnKeys":
        return uniform([2, source.width], this.options.seed ?? 0, 1 + stage.index * 64 + source.index);
      case "virtualKeys":
        return uniform([source.rows, 2], this.options.seed ?? 0, 0x4000 + stage.index * 64 + source.index);
      case "batch": {
        const tensor = this.#tensors[stage.over][source.name];
        if (tensor === undefined) throw new InternalError(`The model gives no tensor called ${source.name}.`);
        return tensor;
      }
      case "rows": {
        const { tokens } = tokensOver(this.batch, stage.over)!;
        const data = source.parameter.blocks!.rows(tokens);
        return hostTensor("float32", [tokens.length, source.parameter.shape[1]!], data);
      }
    }
  }

  /** The tensor that a stage reads under a name, where it is there. */
  #read({ reads }: PlannedAttention, name: string): HostTensor | undefined {
    const slot = reads[name];
    return slot === undefined ? undefined : this.#slots.get(slot);
  }

  async #forwardAttention(planned: PlannedAttention): Promise<void> {
    const { stage, over, reads, writes } = planned;
    const at = (name: string): HostTensor => this.#slots.get(reads[name]!)!;
    const dims = [tokensOver(this.batch, over)!.tokens.length, stage.heads * stage.headDim];
    const context = this.runner.pool.acquire("float32", dims);
    this.#slots.set(writes["context"]!, context);
    const [key, value, bias] = ["key", "value", "bias"].map((name) => this.#read(planned, name));
    const streams = { query: at("query"), key, value, bias, context };
    const virtual = "virtualKey" in reads ? { key: at("virtualKey"), value: at("virtualValue") } : undefined;
    await this.runner.attention.forward(stage, this.batch, { ...streams, virtual }, this.options);
  }

  /**
   * Adds the gradients of all trained parameters, given that of the hidden states (N, D), which is taken over.
   * The pass is released as it goes.
   */
  async backward(dHidden: HostTensor): Promise<void> {
    try {
      const { inserted } = this.virtual;
      this.#gradients.set(
        this.plan.hidden,
        inserted > 0 ? reordered(this.runner.pool, this.virtual, dHidden, "run") : dHidden,
      );
      this.#slots.done([this.plan.hidden]);
      const stages = [...this.#stages].reverse();
      const reads = stages.map((stage) => this.#backwardReads(stage));
      for (const [i, stage] of stages.entries()) {
        this.options.signal?.throwIfAborted();
        await this.#slots.fetch(reads[i]!, reads[i + 1] ?? []);
        if (stage.kind === "tokens") await this.#backwardTokens(stage);
        else if (stage.backward) await this.#backwardAttention(stage);
        this.#slots.done(reads[i]!);
      }
    } finally {
      this.release();
    }
  }

  async #backwardTokens(stage: PlannedTokens): Promise<void> {
    const { pool } = this.runner;
    const { backward } = this.#program(stage);
    if (backward !== undefined) {
      const results = backward.streams.map((name) => {
        const slot = stage.reads[name]!;
        return this.#gradients.get(slot) ?? pool.acquire("float32", this.#slotDims(stage, backward, name));
      });
      const trained = backward.parameters.map((parameter) => pool.acquire("float32", parameter.shape));
      const resolve: Resolve = (source) => this.#resolve(stage, source);
      const given = { resolve, outputs: [...results, ...trained], count: this.#rows(stage), forward: false };
      await runTokens(this.runner, backward, given, this.options);
      for (const [i, name] of backward.streams.entries())
        this.#gradients.set(stage.reads[name]!, results[i]!);
      for (const [i, parameter] of backward.parameters.entries()) {
        addGradient(parameter, trained[i]!);
        pool.release(trained[i]!);
      }
    }
    for (const tensor of this.#saved.get(stage) ?? []) pool.release(tensor);
    this.#saved.delete(stage);
    this.#releaseGradients(stage);
  }

  #slotDims(stage: PlannedTokens, backward: NonNullable<TokenProgram["backward"]>, name: string): number[] {
    const value = backward.graph.outputs[backward.streams.indexOf(name)]!;
    return resolveDims(value.type, new Map([[TOKENS, this.#rows(stage)]]));
  }

  /** Gradients of what a stage wrote have served. */
  #releaseGradients(stage: PlannedStage): void {
    for (const slot of Object.values(stage.writes)) {
      const gradient = this.#gradients.get(slot);
      if (gradient !== undefined) this.runner.pool.release(gradient);
      this.#gradients.delete(slot);
    }
  }

  async #backwardAttention(planned: PlannedAttention): Promise<void> {
    const { stage, reads, writes } = planned;
    const at = (name: string): HostTensor => this.#slots.get(reads[name]!)!;
    const like = (name: string): HostTensor => {
      const gradient = this.runner.pool.acquire("float32", at(name).dims);
      this.#gradients.set(reads[name]!, gradient);
      return gradient;
    };
    const dContext = this.#gradients.get(writes["context"]!)!;
    const virtual = "virtualKey" in reads ? { key: at("virtualKey"), value: at("virtualValue") } : undefined;
    const dVirtual = virtual && { key: like("virtualKey"), value: like("virtualValue") };
    const bias = this.#read(planned, "bias");
    const streams = { query: at("query"), key: at("key"), value: at("value"), bias, dContext, virtual };
    const dBias = planned.trainsBias ? this.#sum(reads["bias"]!) : undefined;
    const results = { dQuery: like("query"), dKey: like("key"), dValue: like("value"), dBias, dVirtual };
    await this.runner.attention.backward(stage, this.batch, streams, results, this.options);
    this.#releaseGradients(planned);
  }

  /** The gradient of a slot so far, of what several stages read in place. */
  #sum(slot: Slot): HostTensor {
    const known = this.#gradients.get(slot);
    if (known !== undefined) return known;
    const zero = this.runner.pool.acquire("float32", this.#slots.get(slot)!.dims);
    (zero.data as Float32Array).fill(0);
    this.#gradients.set(slot, zero);
    return zero;
  }

  /** Gives all memory of the pass back; safe to call twice. */
  release(): void {
    const held = [...this.#gradients.values(), ...[...this.#saved.values()].flat()];
    for (const tensor of held) this.runner.pool.release(tensor);
    this.#slots.release();
    this.#prepare(undefined);
    this.runner.passReleased(this);
    this.#gradients.clear();
    this.#saved.clear();
  }
}
