import { describe, expect, test } from "vitest";
import { Random } from "../base/random.js";
import { BatchOrder, type BatchOrderOptions } from "./batch-order.js";
import { Dataset } from "./dataset.js";

const random = new Random(3);
const lengths = Array.from({ length: 203 }, () => 2 + Math.floor(60 * random.next() ** 2));
const dataset = new Dataset(
  lengths.map((length, i) => {
    const inputIds = Array.from({ length }, () => i);
    return { source: `rows.jsonl:${i + 1}`, inputIds, labels: inputIds, truncated: 0, trained: length - 1 };
  }),
);
const base: BatchOrderOptions = { batchSize: 4, gradientAccumulation: 2, shuffle: true, seed: 1 };

/** Numbers of the rows of each batch of each step. */
function rowsOf(options: Partial<BatchOrderOptions> = {}, epoch = 0): number[][][] {
  const steps = [...new BatchOrder(dataset, { ...base, ...options }).steps(epoch)];
  return steps.map((batches) => batches.map((rows) => rows.map(({ inputIds }) => inputIds[0]!)));
}
const sorted = (rows: number[][][]): number[] => rows.flat(2).sort((a, b) => a - b);
const every = lengths.map((_, i) => i);

describe("the batches of an epoch", () => {
  test("depend on seed and epoch alone", () => {
    expect(rowsOf()).toEqual(rowsOf());
    expect(rowsOf({}, 1)).not.toEqual(rowsOf());
    expect(rowsOf({ seed: 2 })).not.toEqual(rowsOf());
    expect(rowsOf({ shuffle: false }).flat(2)).toEqual(every);
  });

  test.each([{}, { groupByLength: true }, { packing: true, maxLength: 100 }])(
    "hold every row once, %j",
    (options) => {
      const rows = rowsOf(options);
      expect(sorted(rows)).toEqual(every);
      expect(rows).toHaveLength(new BatchOrder(dataset, { ...base, ...options }).stepsPerEpoch);
      expect(rowsOf(options, 1)).not.toEqual(rows);
    },
  );

  test("of like length stand together, the longest row first", () => {
    const spread = (rows: number[][][]): number => {
      const ranges = rows.map((step) => {
        const all = step.flat().map((row) => lengths[row]!);
        return Math.max(...all) - Math.min(...all);
      });
      return ranges.reduce((sum, range) => sum + range, 0) / ranges.length;
    };
    const grouped = rowsOf({ groupByLength: true });
    expect(lengths[grouped[0]![0]![0]!]).toBe(Math.max(...lengths));
    expect(spread(grouped)).toBeLessThan(0.35 * spread(rowsOf()));
  });

  test("are filled by packing, and never over the limit", () => {
    const total = lengths.reduce((sum, length) => sum + length, 0);
    for (const maxLength of [undefined, 64, 200]) {
      const capacity = Math.max(maxLength ?? 0, ...lengths);
      const units = rowsOf({ packing: true, maxLength, batchSize: 1, gradientAccumulation: 1 }).flat();
      const filled = units.map((rows) => rows.reduce((sum, row) => sum + lengths[row]!, 0));
      expect(Math.max(...filled)).toBeLessThanOrEqual(capacity);
      expect(units.length).toBeLessThanOrEqual(Math.ceil(total / capacity) + 2);
    }
  });

  test("cannot be packed and grouped", () => {
    expect(() => rowsOf({ packing: true, groupByLength: true })).toThrowErrorMatchingInlineSnapshot(`
      [ConfigError: groupByLength and packing are both on; packed rows are of one length already.
      fix: leave out groupByLength   (--group-by-length)
       or: leave out packing   (--packing)]
    `);
  });
});
