import type { Answers } from "../auto/answers.js";

/** Measures by name, each higher is better unless it says error. */
export type Metrics = Readonly<Record<string, number>>;

const mean = (values: readonly number[]): number =>
  values.length === 0 ? 0 : values.reduce((sum, value) => sum + value, 0) / values.length;

const share = (part: number, whole: number): number => (whole === 0 ? 0 : part / whole);

const harmonic = (precision: number, recall: number): number =>
  share(2 * precision * recall, precision + recall);

/** Share of equal entries. */
export function accuracy(predicted: readonly number[], expected: readonly number[]): number {
  return share(predicted.filter((value, i) => value === expected[i]).length, expected.length);
}

/** F1 of every class that is there or was predicted, with the number of rows that have it. */
function classScores(
  predicted: readonly number[],
  expected: readonly number[],
): { readonly f1: number; readonly support: number }[] {
  const classes = [...new Set([...predicted, ...expected])];
  return classes.map((one) => {
    const support = expected.filter((value) => value === one).length;
    const called = predicted.filter((value) => value === one).length;
    const right = expected.filter((value, i) => value === one && predicted[i] === one).length;
    return { f1: harmonic(share(right, called), share(right, support)), support };
  });
}

/** Mean F1 of the classes, each counting the same; as scikit-learn's `f1_score(average="macro")`. */
export function macroF1(predicted: readonly number[], expected: readonly number[]): number {
  return mean(classScores(predicted, expected).map(({ f1 }) => f1));
}

/** Mean F1 of the classes, each counting as often as it is there; `average="weighted"`. */
export function weightedF1(predicted: readonly number[], expected: readonly number[]): number {
  const scores = classScores(predicted, expected);
  return share(
    scores.reduce((sum, { f1, support }) => sum + f1 * support, 0),
    expected.length,
  );
}

/**
 * Matthews correlation of classes: cov(t, p) / √(cov(t, t) cov(p, p)).
 *
 * @see Gorodkin, "Comparing two K-category assignments by a K-category correlation coefficient", 2004, eq. 8
 */
export function matthews(predicted: readonly number[], expected: readonly number[]): number {
  const count = expected.length;
  const classes = [...new Set([...predicted, ...expected])];
  const tally = (values: readonly number[]): number[] =>
    classes.map((one) => values.filter((value) => value === one).length);
  const [called, there] = [tally(predicted), tally(expected)];
  const right = expected.filter((value, i) => value === predicted[i]).length;
  const dot = (a: readonly number[], b: readonly number[]): number =>
    a.reduce((sum, v, i) => sum + v * b[i]!, 0);
  const spread = Math.sqrt((count ** 2 - dot(called, called)) * (count ** 2 - dot(there, there)));
  return share(right * count - dot(called, there), spread);
}

/** Correlation of two lists of numbers. */
export function pearson(a: readonly number[], b: readonly number[]): number {
  const [meanA, meanB] = [mean(a), mean(b)];
  const covariance = a.reduce((sum, value, i) => sum + (value - meanA) * (b[i]! - meanB), 0);
  const spread = (values: readonly number[], centre: number): number =>
    Math.sqrt(values.reduce((sum, value) => sum + (value - centre) ** 2, 0));
  return share(covariance, spread(a, meanA) * spread(b, meanB));
}

/** Ranks from 1; equal values share the mean of theirs. */
function ranks(values: readonly number[]): number[] {
  const sorted = [...values].sort((x, y) => x - y);
  return values.map((value) => (sorted.indexOf(value) + sorted.lastIndexOf(value)) / 2 + 1);
}

/** Correlation of the ranks of two lists of numbers. */
export function spearman(a: readonly number[], b: readonly number[]): number {
  return pearson(ranks(a), ranks(b));
}

/** Stretches of one kind in tags such as B-PER, I-PER, O; an I after another kind begins a new one, as in CoNLL's script. */
export function spansOf(tags: readonly string[]): string[] {
  const spans: string[] = [];
  let open: { kind: string; start: number } | undefined;
  for (const [i, tag] of [...tags, "O"].entries()) {
    const kind = /^[BI]-/.test(tag) ? tag.slice(2) : tag === "O" ? undefined : tag;
    const goes = open !== undefined && kind === open.kind && !tag.startsWith("B-");
    if (open !== undefined && !goes) spans.push(`${open.kind} ${open.start} ${i}`);
    if (!goes) open = kind === undefined ? undefined : { kind, start: i };
  }
  return spans;
}

function spanMetrics(rows: Answers["rows"], labels: readonly string[]): Metrics {
  let [right, called, there] = [0, 0, 0];
  for (const { predicted, expected } of rows) {
    const names = (ids: readonly number[]): string[] => spansOf(ids.map((id) => labels[id]!));
    const [ours, theirs] = [names(predicted), names(expected)];
    called += ours.length;
    there += theirs.length;
    right += ours.filter((span) => theirs.includes(span)).length;
  }
  const [precision, recall] = [share(right, called), share(right, there)];
  return { spanPrecision: precision, spanRecall: recall, spanF1: harmonic(precision, recall) };
}

/** Overlap of two stretches of tokens as F1. */
function overlapF1([start, end]: readonly number[], [from, to]: readonly number[]): number {
  const common = Math.max(0, Math.min(end!, to!) - Math.max(start!, from!) + 1);
  return harmonic(share(common, end! - start! + 1), share(common, to! - from! + 1));
}

/** The measures of a task. */
export function metricsOf({ kind, rows, labels }: Answers): Metrics {
  const predicted = rows.flatMap((row) => row.predicted);
  const expected = rows.flatMap((row) => row.expected);
  switch (kind) {
    case "class":
      return {
        accuracy: accuracy(predicted, expected),
        macroF1: macroF1(predicted, expected),
        weightedF1: weightedF1(predicted, expected),
        matthews: matthews(predicted, expected),
      };
    case "classes": {
      const whole = rows.filter((row) => row.predicted.every((value, i) => value === row.expected[i])).length;
      const columns = labels.map((_, i) => {
        const right = rows.filter((row) => row.predicted[i] === 1 && row.expected[i] === 1).length;
        const called = rows.filter((row) => row.predicted[i] === 1).length;
        const there = rows.filter((row) => row.expected[i] === 1).length;
        return harmonic(share(right, called), share(right, there));
      });
      return {
        exactMatch: share(whole, rows.length),
        accuracy: accuracy(predicted, expected),
        macroF1: mean(columns),
      };
    }
    case "number":
      return {
        pearson: pearson(predicted, expected),
        spearman: spearman(predicted, expected),
        meanSquaredError: mean(predicted.map((value, i) => (value - expected[i]!) ** 2)),
      };
    case "tags":
      return { accuracy: accuracy(predicted, expected), ...spanMetrics(rows, labels) };
    case "tokens": {
      const whole = rows.filter((row) => row.predicted.every((id, i) => id === row.expected[i])).length;
      return { exactMatch: share(whole, rows.length), accuracy: accuracy(predicted, expected) };
    }
    case "span":
      return {
        exactMatch: mean(rows.map((row) => Number(row.predicted.every((at, i) => at === row.expected[i])))),
        overlapF1: mean(rows.map((row) => overlapF1(row.predicted, row.expected))),
      };
  }
}
