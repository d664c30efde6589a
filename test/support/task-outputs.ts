import type { FeatureLoss } from "../../src/index.js";

/** The loss that the Python scripts put on bodies: the mean square of hidden states. */
export const meanSquare: FeatureLoss = (hidden) => ({
  sum: hidden.reduce((sum, value) => sum + value * value, 0) / hidden.length,
  count: 1,
  gradient: hidden.map((value) => (2 * value) / hidden.length),
});

/** A batch as Python scripts write it down. */
export function toTaskBatch(raw: Readonly<Record<string, number[][] | number[]>>): Record<string, unknown> {
  return {
    inputIds: raw["input_ids"],
    attentionMask: raw["attention_mask"],
    tokenTypeIds: raw["token_type_ids"],
    labels: raw["labels"],
    startPositions: raw["start_positions"],
    endPositions: raw["end_positions"],
    taskIds: raw["task_ids"],
  };
}

/** Names of outputs here and in the reference; those of tokens have a row for each. */
const OUTPUTS: Readonly<Record<string, string>> = {
  logits: "logits",
  startLogits: "start_logits",
  endLogits: "end_logits",
  lastHiddenState: "last_hidden_state",
  poolerOutput: "pooler_output",
  loss: "loss",
};

/** Every output that the reference has at a stage, ours with theirs; padding left out. */
export function realOutputs(
  out: Readonly<Record<string, unknown>>,
  keys: readonly string[],
  stage: string,
  tensor: (key: string) => Float32Array,
  mask: readonly number[],
): [ours: { name: string; data: ArrayLike<number> }, theirs: ArrayLike<number>][] {
  const known = Object.entries(OUTPUTS).filter(([, theirs]) => keys.includes(`${stage}.${theirs}`));
  if (known.length !== keys.length) throw new Error(`${stage}: ${keys.join()} are not all known`);
  return known.map(([name, key]) => {
    const theirs = tensor(`${stage}.${key}`);
    if (name === "loss") return [{ name, data: [out[name] as number] }, theirs];
    const { data, dims } = out[name] as { data: Float32Array; dims: number[] };
    if (data.length !== theirs.length)
      throw new Error(`${name} has ${data.length} numbers, expected ${theirs.length}`);
    const width = data.length / mask.length;
    const perToken = dims.length === 3 || name.endsWith("Logits");
    const real = (values: Float32Array): Float32Array =>
      perToken ? values.filter((_, i) => mask[Math.floor(i / width)] === 1) : values;
    return [{ name, data: real(data) }, real(theirs)];
  });
}
