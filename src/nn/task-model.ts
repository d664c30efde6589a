import type { HostTensor } from "../base/host-tensor.js";
import type { Value } from "../graph/value.js";
import type { Backbone } from "./backbone.js";
import type { Embedding } from "./embedding.js";
import { Module, nameTree } from "./module.js";
import type { Stage, StagedModel, TokenBatch } from "./stage.js";
import type { Trace } from "./trace.js";

/** Which hidden states a head reads: those of every token, of the first or of the last one of each row. */
export type HeadReads = "each" | "first" | "last";

/** A head: its modules under their names in checkpoints, and how hidden rows become scores. */
export interface Head {
  /** Class name of the whole model, as Hugging Face has it. */
  readonly kind: string;
  readonly modules: Readonly<Record<string, Module>>;
  readonly reads: HeadReads;
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
  readonly reads: HeadReads;
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
    Object.assign(this, { [this.prefix]: body, ...head.modules });
    nameTree(this);
  }

  get headNames(): readonly string[] {
    return Object.keys(this.#head.modules);
  }

  get inputEmbedding(): Embedding {
    return this.#body.wordEmbeddings();
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
