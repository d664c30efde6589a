import { ShapeError } from "../base/errors.js";
import { type HostTensor, hostTensor } from "../base/host-tensor.js";
import { type BufferPool, rowsOf } from "./buffer-pool.js";
import { int64Tensor } from "./graph-runner.js";
import type { ModelSite, VirtualTokens } from "./site.js";
import type { AttentionStage, Over, Stage, StagedModel, TokenBatch, TokenStage } from "./stage.js";

/** The virtual tokens of the active adapter of a model, if it has any. */
export function virtualTokensOf(model: StagedModel): VirtualTokens | undefined {
  return model.inputEmbedding?.attachments.find(({ active, virtual }) => active && virtual !== undefined)
    ?.virtual;
}

const attentionOf = (model: StagedModel): AttentionStage[] =>
  model.stages.filter((stage): stage is AttentionStage => stage.kind === "attention");

/** Whether virtual keys and values go before those of a layer: not in an encoder beside a decoder, and not where its rows are asked. */
export const takesVirtual = ({ over = "batch", keysOver = over }: AttentionStage): boolean =>
  over === "batch" && keysOver === "batch";

/** The place where virtual tokens hold on to a model; undefined where it has none. */
export function modelSite(model: StagedModel): ModelSite | undefined {
  const { inputEmbedding: module, answerEmbedding: answers } = model;
  if (module === undefined) return undefined;
  const { vocabularySize, width, weight, scale } = module;
  const all = attentionOf(model);
  const layers = all.filter(takesVirtual);
  const encoder = all.filter(({ over }) => over === "source");
  return {
    kind: "model",
    module,
    stacks:
      answers === undefined
        ? [{ over: "batch", module }]
        : [
            { over: "source", module },
            { over: "batch", module: answers },
          ],
    vocabularySize,
    width,
    weight,
    scale,
    layers,
    numLayers: encoder.length === 0 ? layers.length : encoder.length,
  };
}

const keyStream = (layer: number): string => `virtual_key.${layer}`;
const valueStream = (layer: number): string => `virtual_value.${layer}`;

/** Streams of the virtual keys and values that an attention stage reads beside its own. */
export function virtualReads({ layer }: AttentionStage): { virtualKey: string; virtualValue: string } {
  return { virtualKey: keyStream(layer), virtualValue: valueStream(layer) };
}

/** The stage that computes the virtual keys and values of all layers. */
function virtualStage(model: StagedModel, virtual: VirtualTokens & { into: "keysAndValues" }): TokenStage {
  const layers = attentionOf(model).filter(takesVirtual);
  const writes = Object.fromEntries(
    layers.flatMap(({ layer, keyValueHeads, headDim }) =>
      [keyStream(layer), valueStream(layer)].map((name) => [name, keyValueHeads * headDim]),
    ),
  );
  return {
    kind: "tokens",
    name: "virtual_keys_and_values",
    reads: {},
    writes,
    rows: virtual.count,
    trace: (t) =>
      Object.fromEntries(
        virtual.layers(t.virtualContext()).flatMap(({ key, value }, i) => [
          [keyStream(layers[i]!.layer), key],
          [valueStream(layers[i]!.layer), value],
        ]),
      ),
  };
}

/** The stages of a model with what its active adapter adds to them. */
export function stagesWithVirtual(model: StagedModel): readonly Stage[] {
  const virtual = virtualTokensOf(model);
  if (virtual?.into !== "keysAndValues") return model.stages;
  return [virtualStage(model, virtual), ...model.stages];
}

/** A batch with room for virtual tokens. */
export interface VirtualBatch {
  readonly batch: TokenBatch;
  /** Rows that were put before every row of the batch. */
  readonly inserted: number;
  /** Tensors that the graphs of virtual tokens read, for the tokens of the batch and for those of its source. */
  readonly tensors: Readonly<Record<Over, Readonly<Record<string, HostTensor>>>>;
}

const column = (count: number, value: (i: number) => number): HostTensor =>
  hostTensor(
    "float32",
    [count, 1],
    Float32Array.from({ length: count }, (_, i) => value(i)),
  );

/** The rows of a batch need a task each, where the adapter has several. */
function checkTasks(taskIds: Int32Array | undefined, rows: number, tasks: number): void {
  if (taskIds === undefined && tasks === 1) return;
  const range = `0 to ${tasks - 1}`;
  if (taskIds === undefined) {
    throw new ShapeError({
      code: "task_ids_missing",
      summary: "The batch has no taskIds, and the active adapter needs the task of every row.",
      facts: [["tasks", range]],
      fixes: [`taskIds: [${Array.from({ length: Math.min(rows, 4) }, () => 0).join(", ")}]`],
      fields: { rows, tasks },
    });
  }
  const row = taskIds.findIndex((task) => task < 0 || task >= tasks);
  if (row < 0) return;
  throw new ShapeError({
    code: "task_id",
    summary: `taskIds: row ${row} has task ${taskIds[row]}; the active adapter knows ${range}.`,
    fields: { row, task: taskIds[row], tasks },
  });
}

/** What stands before the rows of some tokens. */
interface Inserted {
  /** Rows that are put before every row. */
  readonly count: number;
  /** Positions that virtual tokens take, whether they get rows or are in the cache. */
  readonly shift: number;
  /** Row of the table for virtual token j of a row. */
  index(row: number, j: number): number;
}

/** Tokens with rows for virtual ones, and the tensors that say which they are. */
function widen(
  tokens: TokenBatch,
  { count, shift, index: indexOf }: Inserted,
): { readonly batch: TokenBatch; readonly tensors: Record<string, HostTensor> } {
  const { rowOffsets, positions } = tokens;
  const rows = rowOffsets.length - 1;
  const total = tokens.tokens.length + rows * count;
  const wide = new Int32Array(total);
  const places = new Int32Array(total);
  const index = new Int32Array(total);
  const real = new Uint8Array(total).fill(1);
  const types = tokens.tokenTypes === undefined ? undefined : new Int32Array(total);
  const offsets = rowOffsets.map((start, row) => start + row * count);
  for (let row = 0; row < rows; row += 1) {
    const at = offsets[row]!;
    for (let j = 0; j < count; j += 1) {
      places[at + j] = j;
      index[at + j] = indexOf(row, j);
      real[at + j] = 0;
    }
    for (let i = rowOffsets[row]!; i < rowOffsets[row + 1]!; i += 1) {
      const to = at + count + i - rowOffsets[row]!;
      wide[to] = tokens.tokens[i]!;
      if (types !== undefined) types[to] = tokens.tokenTypes![i]!;
      places[to] = positions[i]! + shift;
    }
  }
  return {
    batch: { ...tokens, tokens: wide, rowOffsets: offsets, positions: places, tokenTypes: types },
    tensors: {
      virtualIndex: int64Tensor(index),
      realRows: column(total, (i) => real[i]!),
      virtualRows: column(total, (i) => 1 - real[i]!),
    },
  };
}

/**
 * Makes room for virtual tokens. Real tokens stand at positions behind them; those of the input get rows of their own, unless
 * they have been run and are in the cache.
 */
export function makeRoom(
  batch: TokenBatch,
  virtual: VirtualTokens | undefined,
  options: { readonly cached: boolean },
): VirtualBatch {
  const tensors: VirtualBatch["tensors"] = { batch: {}, source: {} };
  if (virtual === undefined) return { batch, inserted: 0, tensors };
  const { count } = virtual;
  if (virtual.into === "keysAndValues")
    return { batch: widen(batch, { count: 0, shift: count, index: () => 0 }).batch, inserted: 0, tensors };
  const { tasks, over, stacks } = virtual;
  const rows = batch.rowOffsets.length - 1;
  if (tasks !== undefined && !options.cached) checkTasks(batch.taskIds, rows, tasks);
  const taskIds = int64Tensor(batch.taskIds ?? new Int32Array(rows));
  const room = (tokens: TokenBatch, stack: number, inserted: number): ReturnType<typeof widen> => {
    const index = (row: number, j: number): number =>
      (tasks === undefined ? 0 : row * stacks * count) + stack * count + j;
    const { batch: wide, tensors: own } = widen(tokens, { count: inserted, shift: count, index });
    return { batch: wide, tensors: { ...own, taskIds } };
  };
  const { source } = batch;
  const [sourceStack, ownStack] = [over.indexOf("source"), over.indexOf("batch")];
  const wideSource = source === undefined || sourceStack < 0 ? undefined : room(source, sourceStack, count);
  const inserted = options.cached ? 0 : count;
  const wide = ownStack < 0 ? { batch, tensors: {} } : room(batch, ownStack, inserted);
  return {
    batch: { ...wide.batch, source: wideSource?.batch ?? source },
    inserted: ownStack < 0 ? 0 : inserted,
    tensors: { batch: wide.tensors, source: wideSource?.tensors ?? {} },
  };
}

/** Tensors of `widen` that have a row for each token. */
const PER_TOKEN: readonly string[] = ["virtualIndex", "realRows", "virtualRows"];

/** Tokens start … end − 1 of a batch, all of one row, as a batch of that row. */
export function tokensOf(
  { batch, tensors, inserted }: VirtualBatch,
  start: number,
  end: number,
): VirtualBatch {
  const part = (values: Int32Array): Int32Array => values.subarray(start, end);
  const own = Object.entries(tensors.batch).map(([name, tensor]) => [
    name,
    PER_TOKEN.includes(name) ? rowsOf(tensor, start, end) : tensor,
  ]);
  return {
    batch: {
      ...batch,
      tokens: part(batch.tokens),
      positions: part(batch.positions),
      rowOffsets: Int32Array.of(0, end - start),
      ...(batch.tokenTypes !== undefined && { tokenTypes: part(batch.tokenTypes) }),
    },
    inserted,
    tensors: { ...tensors, batch: Object.fromEntries(own) as Record<string, HostTensor> },
  };
}

/** Rows that stay together: where they start when they are run, and with real tokens first and virtual ones after them. */
function rowBlocks({
  batch: { rowOffsets },
  inserted,
}: VirtualBatch): { readonly run: number; readonly apart: number; readonly count: number }[] {
  const rows = rowOffsets.length - 1;
  const real = rowOffsets[rows]! - rows * inserted;
  return Array.from({ length: rows }, (_, row) => {
    const run = rowOffsets[row]!;
    return [
      { run, apart: real + row * inserted, count: inserted },
      { run: run + inserted, apart: run - row * inserted, count: rowOffsets[row + 1]! - run - inserted },
    ];
  }).flat();
}

/** Rows as they were run, or real tokens first and virtual ones after them; the given tensor goes back. */
export function reordered(
  pool: BufferPool,
  virtual: VirtualBatch,
  rows: HostTensor,
  order: "apart" | "run",
): HostTensor {
  const width = rows.dims[1]!;
  const result = pool.acquire("float32", rows.dims);
  for (const { run, apart, count } of rowBlocks(virtual)) {
    const [from, to] = order === "apart" ? [run, apart] : [apart, run];
    (result.data as Float32Array).set(
      rows.data.subarray(from * width, (from + count) * width) as Float32Array,
      to * width,
    );
  }
  pool.release(rows);
  return result;
}
