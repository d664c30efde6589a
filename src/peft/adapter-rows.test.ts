import { expect, test } from "vitest";
import { AutoModelForCausalLM, AutoModelForQuestionAnswering, getPeftModel } from "../index.js";
import { perturb } from "../testing/subject.js";
import { tinyConfig } from "../testing/tiny-model.js";

const lora = { peftType: "LORA", r: 2, targetModules: "all-linear" } as const;

async function twoAdapters() {
  const base = await AutoModelForCausalLM.fromConfig(tinyConfig("llama"), { seed: 1 });
  const model = await getPeftModel(base, lora);
  perturb(model, 1);
  model.addAdapter({ peftType: "PREFIX_TUNING", numVirtualTokens: 2 }, { adapterName: "prefix" });
  perturb(model, 2);
  return { base, model };
}

const ragged = {
  inputIds: [
    [5, 6, 7],
    [8, 9],
    [3, 4, 5, 6, 7],
  ],
  labels: [
    [5, 6, 7],
    [8, 9],
    [3, 4, 5, 6, 7],
  ],
};

test("rows of any length and of different methods are what they are alone", async () => {
  const { base, model } = await twoAdapters();
  const names = ["prefix", "default", "__base__"] as const;
  const { logits, loss, supervisedTokens } = await model.forward(ragged, { adapterNames: names });
  const evaluated = await model.evaluate(ragged, { adapterNames: names });
  const [, longest, width] = logits.dims as [number, number, number];
  expect(logits.dims).toEqual([3, 5, 31]);
  let [sum, count] = [0, 0];
  for (const [row, name] of names.entries()) {
    const inputs = { inputIds: [ragged.inputIds[row]!], labels: [ragged.labels[row]!] };
    const alone = await model.withAdapter(name === "__base__" ? undefined : name, () => base.forward(inputs));
    const { data } = alone.logits;
    const mixed = logits.data.subarray(row * longest * width, (row + 1) * longest * width);
    for (const [i, value] of data.entries()) expect(Math.abs(mixed[i]! - value)).toBeLessThan(1e-5);
    expect(mixed.subarray(data.length).every((value) => value === 0)).toBe(true);
    sum += alone.loss! * alone.supervisedTokens;
    count += alone.supervisedTokens;
  }
  // A prefix is before the first token and lets it be predicted no more than LoRA does.
  expect(supervisedTokens).toBe(count);
  expect(loss).toBeCloseTo(sum / count, 5);
  expect(evaluated.loss / evaluated.supervisedTokens).toBeCloseTo(loss!, 5);
  expect(model.activeAdapter).toBe("prefix");
  await base.close();
});

test("calls at the same time wait for a batch of several adapters", async () => {
  const { base, model } = await twoAdapters();
  const before = await model.forward(ragged);
  const [, during, mixedAgain] = await Promise.all([
    model.forward(ragged, { adapterNames: ["default", "__base__", "default"] }),
    model.forward(ragged),
    model.forward(ragged, { adapterNames: ["prefix", "prefix", "prefix"] }),
  ]);
  expect(during.logits.data).toEqual(before.logits.data);
  expect(mixedAgain.logits.data.length).toBe(before.logits.data.length);
  await base.close();
});

test("padding of questions stays out of the running", async () => {
  const base = await AutoModelForQuestionAnswering.fromConfig(tinyConfig("bert"), { seed: 1 });
  const model = await getPeftModel(base, { ...lora, targetModules: ["query"] });
  const { startLogits } = await model.forward(
    { inputIds: [[5, 6, 7], [8]] },
    { adapterNames: ["default", "__base__"] },
  );
  expect([...startLogits.data].map(Number.isFinite)).toEqual([true, true, true, true, false, false]);
  await base.close();
});

test("what cannot be: other counts, unknown names, packed batches, losses of a whole batch, training", async () => {
  const { base, model } = await twoAdapters();
  const says = async (work: () => Promise<unknown>): Promise<string> =>
    work().then(
      () => "nothing",
      (error: unknown) => (error as Error).message,
    );
  const all = { adapterNames: ["default", "default", "default"] };
  const texts = [
    await says(() => model.forward(ragged, { adapterNames: ["default"] })),
    await says(() => model.forward(ragged, { adapterNames: ["default", "defualt", "__base__"] })),
    await says(() => model.forward(base.pack(ragged), all)),
    await says(() => model.forward({ ...ragged, lossOf: () => 0 } as never, all)),
    await says(() => model.backward(ragged, all as never)),
  ];
  expect(texts.join("\n\n")).toMatchInlineSnapshot(`
    "adapterNames has 1 entries; the batch has 3 rows.

    There is no adapter called "defualt".
      nearest   default
      adapters  default, prefix, __base__

    adapterNames needs a batch of rows (inputIds); this one is packed already.

    lossOf is of the whole batch, which adapterNames takes apart.

    A batch whose rows have adapters of their own cannot be trained on: gradients go to the active adapter.
    fix: run backward for the rows of each adapter: model.setAdapter(name), then model.backward(rows)"
  `);
  // Nothing of it is left: the adapter in use is what it was.
  expect(model.activeAdapter).toBe("prefix");
  expect((await model.forward(ragged)).logits.dims).toEqual([3, 5, 31]);
  await base.close();
});
