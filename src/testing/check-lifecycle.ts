import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { UnsupportedError } from "../base/errors.js";
import { PeftModel } from "../peft/peft-model.js";
import { fingerprint } from "../train/verify.js";
import { defineCheck, type Finding } from "./check.js";
import { largestGap, require, sameBits } from "./conformance-error.js";
import { logitsOf, perturb } from "./subject.js";

export const merge = defineCheck({
  name: "merge",
  title: "merged equals forward, or it declares and reports that it cannot be merged",
  forVariants: true,
  async run(subject) {
    const base = await subject.models.own();
    try {
      const model = new PeftModel(base);
      const { config } = model.addAdapter(subject.config(base));
      perturb(model);
      const expected = await logitsOf(model);
      const refused = await model.mergeAndUnload().then(
        () => undefined,
        (error: unknown) => error,
      );
      const declared = subject.method.mergeable(config);
      const reported = refused instanceof UnsupportedError;
      // Whether a variant can be merged may depend on the layer, such as on its having a bias.
      if (refused !== undefined && (!reported || (subject.isVariant && declared))) throw refused;
      require(!declared || refused === undefined, "mergeable", () =>
        `${subject.method.name} declares that it can be merged, and cannot be.`, () => [
        ["reason", (refused as Error).message],
      ]);
      require(declared === (refused === undefined), "mergeable", () =>
        `${subject.method.name} declares that it cannot be merged, and was.`);
      const gap = largestGap(await logitsOf(base), expected);
      require(gap <= 1e-4, "merge", () =>
        declared
          ? `Merged scores differ from those with the adapter by ${gap}.`
          : `A merge that was refused changed scores by ${gap}.`);
      require(declared === (model.adapterNames.length === 0), "merge_left", () =>
        "The adapter is still there after the merge.");
      return declared ? "holds" : "declared";
    } finally {
      await base.close();
    }
  },
});

export const saveAndLoad = defineCheck({
  name: "save",
  title: "what is loaded is what was saved, to the bit",
  forVariants: true,
  async run(subject) {
    const base = await subject.models.shared();
    const folders = [await subject.models.folder(), await subject.models.folder()] as const;
    const [tensors, scores] = await subject.attached(base, async (model) => {
      perturb(model);
      await model.savePretrained(folders[0]);
      const values = new Map([...model.adapter().tensors].map(([name, { data }]) => [name, data.slice()]));
      return [values, await logitsOf(model)] as const;
    });
    const again = await PeftModel.fromPretrained(base, folders[0]);
    try {
      const loaded = again.adapter().tensors;
      const differ = [...loaded].filter(
        ([name, { data }]) => tensors.has(name) && !sameBits(data, tensors.get(name)!),
      );
      require(differ.length === 0, "save_tensor", () =>
        `${differ[0]![0]} was saved and loaded with other values.`);
      const reloaded = await logitsOf(again);
      require(sameBits(reloaded, scores) || largestGap(reloaded, scores) < 1e-6, "save_scores", () =>
        `Scores differ by ${largestGap(reloaded, scores)} after saving and loading.`);
      await again.savePretrained(folders[1]);
    } finally {
      again.deleteAdapter("default");
    }
    for (const file of ["adapter_config.json", "adapter_model.safetensors"]) {
      const [first, second] = await Promise.all(folders.map((folder) => readFile(join(folder, file))));
      require(first!.equals(second!), "save_file", () =>
        `${file} is another after loading and saving again.`);
    }
    return "holds";
  },
});

export const detach = defineCheck({
  name: "detach",
  title: "taking it off restores the base, bit for bit",
  async run(subject) {
    const base = await subject.models.shared();
    const prints = (): string =>
      [...base.namedParameters()].map(({ name, tensor }) => name + fingerprint(tensor)).join();
    const [scores, before] = [await logitsOf(base), prints()];
    const moved = await subject.attached(base, async (model) => {
      perturb(model);
      return !sameBits(await logitsOf(model), scores);
    });
    require(moved, "no_effect", () =>
      `${subject.method.name} changes no score, wherever its parameters are.`);
    require(sameBits(await logitsOf(base), scores), "detach_scores", () =>
      "Scores of the base differ after the adapter was taken off.");
    require(prints() === before, "detach_base", () =>
      "The base has changed after the adapter was taken off.");
    const left = [...base.modules()].find(({ attachments }) => attachments.length > 0);
    require(left === undefined, "detach_left", () => `Something of the adapter is left at ${left!.path}.`);
    return "holds";
  },
});

export const switching = defineCheck({
  name: "switch",
  title: "several adapters on one base are switched without a trace",
  oncePerFamily: true,
  async run(subject) {
    const base = await subject.models.shared();
    const plain = await logitsOf(base);
    return subject.attached(base, async (model): Promise<Finding> => {
      perturb(model, 1);
      const first = await logitsOf(model);
      model.addAdapter(subject.config(base), { adapterName: "second", seed: 5 });
      perturb(model, 2);
      const second = await logitsOf(model);
      require(!sameBits(first, second), "switch_same", () =>
        "A second adapter with other parameters gives the same scores.");
      const same = async (what: string, expected: Float32Array): Promise<void> => {
        const gap = largestGap(await logitsOf(model), expected);
        require(gap === 0, "switch", () => `Scores differ by ${gap} ${what}.`);
      };
      model.setAdapter("default");
      await same("after switching there and back", first);
      model.disableAdapters();
      await same("from those of the base with all adapters off", plain);
      model.setAdapter("second");
      model.deleteAdapter("default");
      await same("after another adapter was deleted", second);
      return "holds";
    });
  },
});
