/** Names that other tools use for what is called otherwise here. */
const NEIGHBOURS: Readonly<Record<string, string>> = {
  lr: "learningRate",
  rank: "r",
  lorar: "r",
  lorarank: "r",
  alpha: "loraAlpha",
  dropout: "loraDropout",
  targets: "targetModules",
  loratarget: "targetModules",
  loratargetmodules: "targetModules",
  gradaccum: "gradientAccumulation",
  microbatchsize: "batchSize",
  perdevicetrainbatchsize: "batchSize",
  numepochs: "epochs",
  iters: "maxSteps",
  maxseqlength: "maxLength",
  maxseqlen: "maxLength",
  sequencelen: "maxLength",
  cutofflen: "maxLength",
  optimizer: "optim",
  optimiser: "optim",
  scheduler: "lrSchedulerType",
  lrscheduler: "lrSchedulerType",
  basemodel: "model",
  modelnameorpath: "model",
  adapterpath: "outputDir",
  output: "outputDir",
  datasets: "dataset",
  data: "dataset",
  gradientclip: "maxGradNorm",
  clip: "maxGradNorm",
};

const plain = (name: string): string => name.toLowerCase().replace(/[^a-z0-9]/g, "");

/** Edits from one word to another, a swap of neighbours counting as one. */
export function editDistance(a: string, b: string): number {
  const rows = Array.from({ length: a.length + 1 }, (_, i) => [
    i,
    ...Array.from<number>({ length: b.length }).fill(0),
  ]);
  for (let j = 0; j <= b.length; j += 1) rows[0]![j] = j;
  for (let i = 1; i <= a.length; i += 1) {
    for (let j = 1; j <= b.length; j += 1) {
      const cost = a[i - 1] === b[j - 1] ? 0 : 1;
      let best = Math.min(rows[i - 1]![j]! + 1, rows[i]![j - 1]! + 1, rows[i - 1]![j - 1]! + cost);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1])
        best = Math.min(best, rows[i - 2]![j - 2]! + 1);
      rows[i]![j] = best;
    }
  }
  return rows[a.length]![b.length]!;
}

/** Up to three names that a misspelt word probably meant, nearest first; ties are all shown. */
export function suggest(word: string, names: Iterable<string>): string[] {
  const target = plain(word);
  const allowed = Math.max(1, Math.floor(target.length / 3));
  const near = [...new Set(names)]
    .map((name) => ({ name, distance: editDistance(target, plain(name)) }))
    .filter(({ distance }) => distance <= allowed)
    .sort((a, b) => a.distance - b.distance);
  return near
    .filter(({ distance }) => distance === near[0]?.distance)
    .slice(0, 3)
    .map(({ name }) => name);
}

/** What another tool's option is called here, if that is one of `names` (in camelCase). */
export function neighbourName(word: string, names: readonly string[]): string | undefined {
  const name = NEIGHBOURS[plain(word)];
  return name !== undefined && names.includes(name) ? name : undefined;
}
