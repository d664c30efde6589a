import type { HostTensor } from "../base/host-tensor.js";
import type { Value } from "../graph/value.js";
import type { Backbone } from "./backbone.js";
import type { Embedding } from "./embedding.js";
import { childModules, Module, nameTree } from "./module.js";
import type { Stage, StagedModel, TokenBatch } from "./stage.js";
import type { Trace } from "./trace.js";

/** A head: its modules under their names in checkpoints, and how hidden rows become scores. */
export interface Head {
  /** Class name of the whole model, as Hugging Face has it. */
  readonly kind: string;
  readonly modules: Readonly<Record<string, Module>>;
  /** Which hidden states it reads: those of every token, of the first or of the last one of each row. */
  readonly reads: StagedModel["reads"];
  /** The name that the body has beside this head, where it is another than usual. */
  readonly prefix?: string;
  /** Scores (R, C) of hidden rows (R, D). */
  score(t: Trace, hidden: Value): Value;
}

/** A body with a head. */
export class TaskModel extends Module implements StagedModel {
  readonly kind: string;
  readonly hidden: { readonly stream: string; readonly width: number };
  readonly prefix: string;
  readonly reads: StagedModel["reads"];
  readonly #body: Backbone;
  readonly #head: Head;

  constructor(prefix: string, body: Backbone, head: Head) {
    super();
    this.kind = head.kind;
    this.prefix = head.prefix ?? prefix;
    this.reads = head.reads;
    this.hidden = { stream: "hidden", width: body.width };
    this.#body = body;
    this.#head = head;
    // Attributes carry the names of checkpoints, so that paths and tensor names come out right.
    const parts = this.prefix === "" ? Object.fromEntries(topLevel(body)) : { [this.prefix]: body };
    Object.assign(this, { ...parts, ...head.modules });
    nameTree(this);
  }

  get headNames(): readonly string[] {
    return Object.keys(this.#head.modules);
  }

  get inputEmbedding(): Embedding {
    return this.#body.wordEmbeddings();
  }

  get answerEmbedding(): Embedding | undefined {
    return this.#body.answerEmbeddings?.();
  }

  get cacheLimit(): number {
    return this.#body.cacheLimit;
  }

  get stages(): readonly Stage[] {
    return this.#body.stages;
  }

  head(t: Trace, hidden: Value): Value {
    return this.#head.score(t, hidden);
  }

  batchTensors(batch: TokenBatch): Readonly<Record<string, HostTensor>> {
    return this.#body.batchTensors(batch);
  }
}

/** A body without a head: its parts stand at the root, and what it answers are hidden states. */
export class BodyModel extends Module implements StagedModel {
  readonly kind: string;
  readonly hidden: { readonly stream: string; readonly width: number };
  readonly prefix = "";
  readonly headNames: readonly string[] = [];
  readonly reads = "each";
  readonly #body: Backbone;

  constructor(body: Backbone) {
    super();
    this.kind = body.kind;
    this.hidden = { stream: "hidden", width: body.width };
    this.#body = body;
    Object.assign(this, Object.fromEntries(topLevel(body)));
    nameTree(this);
  }

  get inputEmbedding(): Embedding {
    return this.#body.wordEmbeddings();
  }

  get answerEmbedding(): Embedding | undefined {
    return this.#body.answerEmbeddings?.();
  }

  get cacheLimit(): number {
    return this.#body.cacheLimit;
  }

  get stages(): readonly Stage[] {
    return this.#body.stages;
  }

  get pool(): Backbone["pool"] {
    return this.#body.pool;
  }

  head(t: Trace, hidden: Value): Value {
    return this.#body.finish(t, hidden);
  }

  batchTensors(batch: TokenBatch): Readonly<Record<string, HostTensor>> {
    return this.#body.batchTensors(batch);
  }
}

/** The attributes of a module that hold modules, lists as they are. */
function topLevel(module: Module): [name: string, value: unknown][] {
  const names = new Set(childModules(module).map(([name]) => name.split(".")[0]!));
  return Object.entries(module).filter(([name]) => names.has(name));
}
