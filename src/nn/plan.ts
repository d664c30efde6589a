import type { Module } from "./module.js";
import { type ObservedInput, withObserved } from "./observe.js";
import type { AttentionStage, Over, StagedModel, TokenStage } from "./stage.js";
import { tokenPrograms, type TracedStage, traceStage, type TokenProgram } from "./token-program.js";
import type { Products } from "./trace.js";
import { stagesWithVirtual, takesVirtual, virtualReads, virtualTokensOf } from "./virtual-tokens.js";

/** A version of a stream: a stage that writes a stream makes a new one. */
export type Slot = number;

interface PlannedStreams {
  readonly reads: Readonly<Record<string, Slot>>;
  readonly writes: Readonly<Record<string, Slot>>;
}

interface PlannedOver extends PlannedStreams {
  /** Which tokens it runs over. */
  readonly over: Over;
}

export interface PlannedTokens extends PlannedOver {
  readonly kind: "tokens";
  readonly name: string;
  readonly index: number;
  readonly widths: Readonly<Record<string, number>>;
  /** Rows of what it writes, where these are not the tokens of the batch. */
  readonly rows: number | undefined;
  readonly save: TokenProgram;
  readonly recompute: TokenProgram;
  /** Slots with what observed modules read. */
  readonly observed: readonly { readonly modules: readonly Module[]; readonly slot: Slot }[];
}

export interface PlannedAttention extends PlannedOver {
  readonly kind: "attention";
  readonly name: string;
  readonly stage: AttentionStage;
  /** Whether something below is trained. */
  readonly backward: boolean;
  /** Whether the table of its bias is trained. */
  readonly trainsBias: boolean;
}

export type PlannedStage = PlannedTokens | PlannedAttention;

/** The order of work for one state of a model: what is attached, what is trained. */
export interface Plan {
  readonly stages: readonly PlannedStage[];
  /** The slot that the head reads, and whether its gradient is of use. */
  readonly hidden: Slot;
  readonly hiddenWanted: boolean;
}

const NOTHING: ReadonlySet<Module> = new Set();

const attentionReads = ({ bias }: AttentionStage): Record<string, string> => ({
  query: "query",
  key: "key",
  value: "value",
  ...(bias === undefined ? {} : { bias: bias.stream }),
});

interface Draft extends PlannedStreams {
  readonly traced: TracedStage | undefined;
  readonly attention: AttentionStage | undefined;
  readonly inputs: readonly ObservedInput[];
}

/** Decides which values flow where, and how far down the backward pass has to go. */
export function makePlan(
  model: StagedModel,
  options: {
    training: boolean;
    gradients: boolean;
    products?: Products;
    observed?: ReadonlySet<Module> | undefined;
  },
): Plan {
  const current = new Map<string, Slot>();
  const needy = new Set<Slot>();
  let slots = 0;
  const modelStages = stagesWithVirtual(model);
  const prefixed = virtualTokensOf(model)?.into === "keysAndValues";
  const drafts = modelStages.map((stage): Draft => {
    const { traced, inputs } =
      stage.kind === "tokens"
        ? withObserved(traceStage(stage, options), options.observed ?? NOTHING)
        : { traced: undefined, inputs: [] };
    const attention = stage.kind === "attention" ? stage : undefined;
    const readNames: Record<string, string> =
      stage.kind === "tokens"
        ? Object.fromEntries(Object.keys(stage.reads).map((name) => [name, name]))
        : { ...attentionReads(stage), ...(prefixed && takesVirtual(stage) ? virtualReads(stage) : {}) };
    const writeNames = traced === undefined ? ["context"] : [...traced.writes.keys()];
    const reads = Object.fromEntries(
      Object.entries(readNames).map(([name, stream]) => [name, current.get(stream)!]),
    );
    const trains = options.gradients && (traced?.trained.length ?? 0) > 0;
    const needs = trains || Object.values(reads).some((slot) => needy.has(slot));
    const writes = Object.fromEntries(
      writeNames.map((name) => {
        const slot = slots++;
        current.set(name, slot);
        if (needs) needy.add(slot);
        return [name, slot];
      }),
    );
    return { traced, attention, inputs, reads, writes };
  });

  const hidden = current.get(model.hidden.stream)!;
  const live = new Set<Slot>(needy.has(hidden) ? [hidden] : []);
  const names = (record: Readonly<Record<string, Slot>>, keep: (slot: Slot) => boolean): Set<string> =>
    new Set(Object.keys(record).filter((name) => keep(record[name]!)));
  const stages = drafts
    .map((draft, index) => ({ draft, index }))
    .reverse()
    .map(({ draft, index }): PlannedStage => {
      const { reads, writes, traced, attention, inputs } = draft;
      const stage = modelStages[index]!;
      if (attention !== undefined) {
        const backward = live.has(writes["context"]!);
        const trainsBias = backward && reads["bias"] !== undefined && needy.has(reads["bias"]);
        if (backward) {
          for (const [name, slot] of Object.entries(reads)) if (name !== "bias" || trainsBias) live.add(slot);
        }
        const { name, over = "batch" } = attention;
        return { kind: "attention", name, over, stage: attention, reads, writes, backward, trainsBias };
      }
      const programs = tokenPrograms(traced!, {
        wanted: names(reads, (slot) => needy.has(slot)),
        accumulated: names(reads, (slot) => live.has(slot)),
        seeded: options.gradients ? names(writes, (slot) => live.has(slot)) : new Set(),
      });
      for (const name of programs.save.backward?.streams ?? []) live.add(reads[name]!);
      const { rows, over = "batch" } = stage as TokenStage;
      const widths = Object.fromEntries(
        [...traced!.writes].map(([name, value]) => [name, value.type.shape[1] as number]),
      );
      const observed = inputs.map(({ modules, stream, from }) => ({
        modules,
        slot: (from === "reads" ? reads : writes)[stream]!,
      }));
      return {
        kind: "tokens",
        name: stage.name,
        over,
        index,
        widths,
        rows,
        reads,
        writes,
        observed,
        ...programs,
      };
    });
  return { stages: stages.reverse(), hidden, hiddenWanted: needy.has(hidden) };
}
