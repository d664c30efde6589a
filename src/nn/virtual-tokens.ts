import { ShapeError } from "../base/errors.js";
import { type HostTensor, hostTensor } from "../base/host-tensor.js";
import type { BufferPool } from "./buffer-pool.js";
import { int64Tensor } from "./graph-runner.js";
import type { ModelSite, VirtualTokens } from "./site.js";
import type { AttentionStage, Stage, StagedModel, TokenBatch, TokenStage } from "./stage.js";

/** The virtual tokens of the active adapter of a model, if it has any. */
export function virtualTokensOf(model: StagedModel): VirtualTokens | undefined {
  return model.inputEmbedding?.attachments.find(({ active, virtual }) => active && virtual !== undefined)
    ?.virtual;
}

/** The place where virtual tokens hold on to a model; undefined where it has none. */
export function modelSite(model: StagedModel): ModelSite | undefined {
  const module = model.inputEmbedding;
  if (module === undefined) return undefined;
  const { vocabularySize, width, weight, scale } = module;
  const layers = model.stages.filter((stage): stage is AttentionStage => stage.kind === "attention");
  return { kind: "model", module, vocabularySize, width, weight, scale, layers };
}

const keyStream = (layer: number): string => `virtual_key.${layer}`;
const valueStream = (layer: number): string => `virtual_value.${layer}`;

/** Streams of the virtual keys and values that an attention stage reads beside its own. */
export function virtualReads({ layer }: AttentionStage): { virtualKey: string; virtualValue: string } {
  return { virtualKey: keyStream(layer), virtualValue: valueStream(layer) };
}

/** The stage that computes the virtual keys and values of all layers. */
function virtualStage(model: StagedModel, virtual: VirtualTokens & { into: "keysAndValues" }): TokenStage {
  const layers = model.stages.filter((stage): stage is AttentionStage => stage.kind === "attention");
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
  /** Tensors of the batch that the graphs of virtual tokens read. */
  readonly tensors: Readonly<Record<string, HostTensor>>;
}

const column = (count: number, value: (i: number) => number): HostTensor =>
  hostTensor(
    "float32",
    [count, 1],
    Float32Array.from({ length: count }, (_, i) => value(i)),
  );

/** The rows of a batch need a task each, where the adapter has tasks. */
function checkTasks(taskIds: Int32Array | undefined, rows: number, tasks: number): void {
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

/**
 * Makes room for virtual tokens. Real tokens stand at positions behind them; those of the input get rows of their own, unless
 * they have been run and are in the cache.
 */
export function makeRoom(
  batch: TokenBatch,
  virtual: VirtualTokens | undefined,
  options: { readonly cached: boolean },
): VirtualBatch {
  if (virtual === undefined) return { batch, inserted: 0, tensors: {} };
  const { count, into } = virtual;
  const tasks = virtual.into === "input" ? virtual.tasks : undefined;
  const { tokens, rowOffsets, positions, taskIds } = batch;
  const rows = rowOffsets.length - 1;
  const inserted = into === "input" && !options.cached ? count : 0;
  if (tasks !== undefined && inserted > 0) checkTasks(taskIds, rows, tasks);
  const total = tokens.length + rows * inserted;
  const wide = new Int32Array(total);
  const places = new Int32Array(total);
  const index = new Int32Array(total);
  const real = new Uint8Array(total).fill(1);
  const types = batch.tokenTypes === undefined ? undefined : new Int32Array(total);
  const offsets = rowOffsets.map((start, row) => start + row * inserted);
  for (let row = 0; row < rows; row += 1) {
    const at = offsets[row]!;
    for (let j = 0; j < inserted; j += 1) {
      places[at + j] = j;
      index[at + j] = (tasks === undefined ? 0 : row * count) + j;
      real[at + j] = 0;
    }
    for (let i = rowOffsets[row]!; i < rowOffsets[row + 1]!; i += 1) {
      const to = at + inserted + i - rowOffsets[row]!;
      wide[to] = tokens[i]!;
      if (types !== undefined) types[to] = batch.tokenTypes![i]!;
      places[to] = positions[i]! + count;
    }
  }
  const tensors: Record<string, HostTensor> = {};
  if (into === "input") {
    tensors["virtualIndex"] = int64Tensor(index);
    tensors["realRows"] = column(total, (i) => real[i]!);
    tensors["virtualRows"] = column(total, (i) => 1 - real[i]!);
    tensors["taskIds"] = int64Tensor(taskIds ?? new Int32Array(rows));
  }
  const roomy = { ...batch, tokens: wide, rowOffsets: offsets, positions: places, tokenTypes: types };
  return { batch: roomy, inserted, tensors };
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
