import type { PlainTensor } from "../auto/pretrained-model.js";
import { BASE_ROWS } from "../peft/adapter-rows.js";
import type { PeftModel } from "../peft/peft-model.js";
import type { Batch } from "../text/collate.js";
import { defineCheck, type Finding } from "./check.js";
import { largestGap, require } from "./conformance-error.js";
import { perturb } from "./subject.js";
import { toyBatch } from "./tiny-model.js";

interface Scored {
  readonly logits: PlainTensor;
  readonly loss: number;
  readonly supervisedTokens: number;
}

/** The rows of a batch so many times over. */
function repeated(batch: Batch, times: number): Batch {
  const entries = Object.entries(batch) as [string, readonly unknown[]][];
  return Object.fromEntries(
    entries.map(([name, rows]) => [name, Array.from({ length: times }, () => rows).flat()]),
  ) as unknown as Batch;
}

const rowOf = (batch: Batch, row: number): Batch =>
  Object.fromEntries(
    Object.entries(batch).map(([name, rows]) => [name, [(rows as readonly unknown[])[row]]]),
  ) as unknown as Batch;

export const mixedBatch = defineCheck({
  name: "mixed batch",
  title: "a batch whose rows have adapters of their own is what its rows are one by one",
  oncePerFamily: true,
  async run(subject) {
    const base = await subject.models.shared();
    return subject.attached(base, async (model: PeftModel): Promise<Finding> => {
      perturb(model, 1);
      model.addAdapter(subject.config(base), { adapterName: "second", seed: 5 });
      perturb(model, 2);
      const batch = repeated(toyBatch(base), 3);
      const adapterNames = ["second", "default", BASE_ROWS, "second", "default", BASE_ROWS];
      const mixed = (await model.forward(batch, { adapterNames })) as unknown as Scored;
      let [sum, count] = [0, 0];
      for (const [row, name] of adapterNames.entries()) {
        const { taskIds, ...one } = rowOf(batch, row);
        const alone = await model.withAdapter(name === BASE_ROWS ? undefined : name, async () => {
          const inputs = base.taskCount === undefined ? one : { ...one, taskIds };
          return (await base.forward(inputs)) as unknown as Scored;
        });
        const size = alone.logits.data.length;
        const gap = largestGap(mixed.logits.data.subarray(row * size, (row + 1) * size), alone.logits.data);
        require(gap <= 1e-5, "mixed_batch", () =>
          `Scores of row ${row}, which ${name} serves, differ by ${gap} from those of the row alone.`);
        sum += alone.loss * alone.supervisedTokens;
        count += alone.supervisedTokens;
      }
      require(Math.abs(mixed.loss - sum / count) <= 1e-5 * Math.abs(mixed.loss), "mixed_batch_loss", () =>
        `The loss of a mixed batch is ${mixed.loss}; that of its rows is ${sum / count}.`);
      require(model.activeAdapter === "second", "mixed_batch_left", () =>
        `${model.activeAdapter} is in use after a mixed batch; it was second.`);
      return "holds";
    });
  },
});
