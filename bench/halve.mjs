// A copy of a Hugging Face folder with the weights in bfloat16, as most models are published.
import { copyFileSync, existsSync, mkdirSync, readdirSync, renameSync } from "node:fs";
import { join } from "node:path";
import { float32ToBfloat16 } from "../dist/base/half.js";
import { openSafetensors } from "../dist/files/safetensors.js";
import { writeSafetensors } from "../dist/files/safetensors-write.js";

const WEIGHTS = "model.safetensors";

/** Makes the copy once; it gets its name when it is whole. */
export async function halvedFolder(from, to) {
  if (existsSync(to)) return to;
  const partial = `${to}.${process.pid}.partial`;
  mkdirSync(partial, { recursive: true });
  for (const name of readdirSync(from))
    if (name !== WEIGHTS) copyFileSync(join(from, name), join(partial, name));
  const file = await openSafetensors(join(from, WEIGHTS));
  const tensors = [...file.tensors].map(([name, { shape }]) => [
    name,
    { dtype: "bfloat16", shape, data: () => float32ToBfloat16(file.read(name).data) },
  ]);
  await writeSafetensors(join(partial, WEIGHTS), tensors);
  file.close();
  renameSync(partial, to);
  return to;
}
