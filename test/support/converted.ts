import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "vitest";
import { openSafetensors, PeftModel, type PretrainedModel } from "../../src/index.js";
import { expectClose } from "./close.js";

const KEYS = ["r", "lora_alpha", "rank_pattern", "alpha_pattern", "init_lora_weights", "use_rslora"];

/**
 * An adapter whose start took a part of the weights is saved as an ordinary one, as Python does when asked to: into `converted` in the
 * folder of the adapter. Python leaves the trained head out of that file, so that it cannot be loaded where there is one.
 */
export async function expectConverted(
  base: PretrainedModel,
  scores: () => Promise<Float32Array>,
  { adapter, out, head = false }: { readonly adapter: string; readonly out: string; readonly head?: boolean },
): Promise<void> {
  const model = await PeftModel.fromPretrained(base, adapter);
  const before = await scores();
  await model.savePretrained(out);
  model.deleteAdapter("default");
  const folders = [out, join(adapter, "converted")];
  for (const path of head ? [out] : folders) {
    const other = await PeftModel.fromPretrained(base, path);
    expectClose(path, await scores(), before, { absolute: 5e-5 });
    other.deleteAdapter("default");
  }
  const [ours, theirs] = await Promise.all(
    folders.map(async (path) => {
      const { tensors } = await openSafetensors(join(path, "adapter_model.safetensors"));
      const config = JSON.parse(readFileSync(join(path, "adapter_config.json"), "utf8")) as Record<
        string,
        unknown
      >;
      const shapes = [...tensors]
        .flatMap(([key, { shape }]) => (head && !key.includes(".lora_") ? [] : [[key, shape]]))
        .sort();
      return { shapes, config: KEYS.map((key) => config[key]) };
    }),
  );
  expect(ours).toEqual(theirs);
}
