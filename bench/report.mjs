// Tables and a page from what bench/run.mjs measured.

const percent = (value) => `${(100 * value).toFixed(0)} %`;

const MEASURES = {
  tokensPerSecond: { title: "training, tokens/s", more: true, show: (value) => value.toFixed(0) },
  prefill: { title: "prefill, tokens/s", more: true, show: (value) => value.toFixed(0) },
  decode: { title: "decode, tokens/s", more: true, show: (value) => value.toFixed(1) },
  firstStepSeconds: {
    title: "start to first finished step, s",
    more: false,
    show: (value) => value.toFixed(1),
  },
  peakBytes: { title: "peak memory, MiB", more: false, show: (value) => (value / 2 ** 20).toFixed(0) },
  peakShare: {
    title: "share of the machine's peak for the numbers multiplied",
    more: true,
    show: (value) => percent(value),
  },
  prefillShare: { title: "prefill, share of that peak", more: true, show: (value) => percent(value) },
  decodeShare: {
    title: "decode, share of the machine's reading speed",
    more: true,
    show: (value) => percent(value),
  },
};

const median = (list) => list.toSorted((a, b) => a - b)[Math.floor(list.length / 2)];
const spread = (list) =>
  list.length < 2 ? "" : `${(100 * (Math.max(...list) / Math.min(...list) - 1)).toFixed(0)} %`;
const isPeer = (name) => name.startsWith("PEFT ");

/** One row for each workload, measure and contender: what it reached, and how that stands to the peer. */
function rowsOf({ results }) {
  const rows = [];
  for (const [workload, byName] of Object.entries(results)) {
    for (const [key, measure] of Object.entries(MEASURES)) {
      const found = Object.entries(byName).flatMap(([name, runs]) => {
        const list = runs.map((run) => run[key]).filter((value) => value !== undefined);
        return list.length === 0 ? [] : [{ name, value: median(list), spread: spread(list) }];
      });
      const ratio = (mine, theirs) => (measure.more ? mine / theirs : theirs / mine);
      const peers = found.filter(({ name }) => isPeer(name));
      const plain = peers.find(({ name }) => name === "PEFT float32");
      const best = peers.toSorted((a, b) => (measure.more ? b.value - a.value : a.value - b.value))[0];
      for (const one of found) {
        const against = (peer) =>
          peer === undefined || isPeer(one.name) ? "" : `${ratio(one.value, peer.value).toFixed(2)} ×`;
        rows.push({ workload, key, measure, ...one, plain: against(plain), best: against(best) });
      }
    }
  }
  return rows;
}

/** The tables as text. */
export function renderMarkdown(report) {
  const lines = [
    "",
    `${report.machine}; ${report.date}; medians of ${report.rounds} runs; ${report.load}`,
    "",
    "| workload | measure | | median | spread | against PEFT float32 | against PEFT's best |",
    "|---|---|---|---|---|---|---|",
    ...rowsOf(report).map(
      ({ workload, measure, name, value, spread: noise, plain, best }) =>
        `| ${[workload, measure.title, name, measure.show(value), noise, plain, best].join(" | ")} |`,
    ),
  ];
  if (report.curves.length > 0) {
    lines.push("", "| rows × length | tokens/s | peak memory, MiB | share of peak |", "|---|---|---|---|");
    for (const { rows, length, mode, tokensPerSecond, peakBytes, peakShare } of report.curves) {
      const cells = [
        `${rows} × ${length}${mode === "float32" ? "" : `, ${mode}`}`,
        tokensPerSecond.toFixed(0),
        (peakBytes / 2 ** 20).toFixed(0),
        `${(100 * peakShare).toFixed(0)} %`,
      ];
      lines.push(`| ${cells.join(" | ")} |`);
    }
  }
  return lines.join("\n");
}

const escape = (text) => String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;");

/** Bars of one measure of one workload, the longest of them the widest. */
function bars(rows) {
  const most = Math.max(...rows.map(({ value }) => value));
  return rows
    .map(
      ({ name, value, measure, spread: noise, plain, best }) =>
        `<tr><td>${escape(name)}</td><td class="bar"><div class="${isPeer(name) ? "peer" : "ours"}" style="width:${((100 * value) / most).toFixed(1)}%"></div></td>` +
        `<td class="number">${measure.show(value)}</td><td>${noise}</td><td>${plain}</td><td>${best}</td></tr>`,
    )
    .join("\n");
}

/** A line through the points of a curve, both axes logarithmic. */
function curve(points, title, key, show) {
  const [width, height, margin] = [420, 220, 46];
  const xs = points.map(({ rows, length }) => Math.log(rows * length));
  const ys = points.map((point) => Math.log(point[key]));
  const scale = (list, size) => {
    const [low, high] = [Math.min(...list), Math.max(...list)];
    return (value) => margin + ((value - low) / (high - low || 1)) * (size - 2 * margin);
  };
  const [x, y] = [scale(xs, width), scale(ys, height)];
  const places = points.map((point, i) => ({ point, px: x(xs[i]), py: height - y(ys[i]) }));
  const marks = places.map(
    ({ point, px, py }) =>
      `<circle cx="${px.toFixed(0)}" cy="${py.toFixed(0)}" r="3"/><text x="${px.toFixed(0)}" y="${(py - 8).toFixed(0)}" text-anchor="middle">${point.rows}×${point.length}: ${show(point[key])}</text>`,
  );
  const path = places.map(({ px, py }) => `${px.toFixed(0)},${py.toFixed(0)}`).join(" ");
  return `<figure><figcaption>${escape(title)}</figcaption><svg viewBox="0 0 ${width} ${height}" width="${width}"><polyline points="${path}"/>${marks.join("")}</svg></figure>`;
}

/** The last result of each of our modes that has `key`. */
const ownResults = (byName, key) =>
  Object.entries(byName).flatMap(([name, runs]) =>
    runs.at(-1)[key] === undefined ? [] : [[name, runs.at(-1)]],
  );

const operations = ({ float32, int8 }) => float32 + int8;

/** Where the time of one step goes. */
function partsTable(name, { parts, peaks }) {
  const all = parts.reduce((sum, { milliseconds }) => sum + milliseconds, 0);
  const rows = parts
    .filter(({ milliseconds }) => milliseconds > all / 200)
    .map(({ name: part, milliseconds, flops }) => {
      const ideal = 1000 * (flops.float32 / peaks.float32 + flops.int8 / peaks.int8);
      const rate = operations(flops) / milliseconds / 1e6;
      return `<tr><td>${escape(part)}</td><td class="bar"><div class="ours" style="width:${((100 * milliseconds) / parts[0].milliseconds).toFixed(1)}%"></div></td><td class="number">${milliseconds.toFixed(0)}</td><td class="number">${percent(milliseconds / all)}</td><td class="number">${rate > 0 ? rate.toFixed(0) : ""}</td><td class="number">${rate > 0 ? percent(ideal / milliseconds) : ""}</td></tr>`;
    });
  return `<table><caption>${escape(name)}: where the time goes <small>(peak ${(peaks.float32 / 1e9).toFixed(0)} GFLOP/s in float32, ${(peaks.int8 / 1e9).toFixed(0)} in 8 bits)</small></caption>
<thead><tr><th>part and pass</th><th></th><th>ms</th><th>share</th><th>GFLOP/s</th><th>of peak</th></tr></thead><tbody>${rows.join("\n")}</tbody></table>`;
}

/** Operations a second of the parts by operations a byte, under the roof of the machine; both axes logarithmic. */
function roofline(name, { parts, peaks, bandwidth }) {
  const points = parts
    .filter(({ flops, bytes, milliseconds }) => operations(flops) > 0 && bytes > 0 && milliseconds > 1)
    .map(({ name: part, flops, bytes, milliseconds }) => ({
      part,
      x: operations(flops) / bytes,
      y: operations(flops) / (milliseconds / 1000),
    }));
  if (points.length === 0) return "";
  const roof = parts.some(({ flops }) => flops.int8 > 0) ? peaks.int8 : peaks.float32;
  const [width, height, margin] = [420, 260, 40];
  const [lowX, highX] = [
    Math.min(0.25, ...points.map(({ x }) => x)),
    Math.max(1000, ...points.map(({ x }) => x)),
  ];
  const [lowY, highY] = [Math.min(1e9, ...points.map(({ y }) => y)), roof * 1.3];
  const along = (low, high, size) => (value) =>
    margin + (Math.log(value / low) / Math.log(high / low)) * (size - 2 * margin);
  const [px, across] = [along(lowX, highX, width), along(lowY, highY, height)];
  const py = (value) => height - across(value);
  const ridge = roof / bandwidth;
  const start = Math.max(lowX, lowY / bandwidth);
  const line = [
    [start, start * bandwidth],
    ...(ridge < highX ? [[ridge, roof]] : []),
    [highX, Math.min(roof, highX * bandwidth)],
  ]
    .map(([x, y]) => `${px(x).toFixed(0)},${py(y).toFixed(0)}`)
    .join(" ");
  const dots = points.map(
    ({ part, x, y }) =>
      `<circle cx="${px(x).toFixed(0)}" cy="${py(y).toFixed(0)}" r="3"><title>${escape(part)}: ${(y / 1e9).toFixed(0)} GFLOP/s, ${x.toFixed(1)} operations a byte</title></circle>`,
  );
  return `<figure><figcaption>${escape(name)}: parts under the roof</figcaption><svg viewBox="0 0 ${width} ${height}" width="${width}"><polyline points="${line}"/>${dots.join("")}
<text x="${width - margin}" y="${(py(roof) - 6).toFixed(0)}" text-anchor="end">${(roof / 1e9).toFixed(0)} GFLOP/s</text><text x="${margin}" y="${height - 8}">operations a byte, ${lowX.toFixed(2)} to ${highX.toFixed(0)}; reading ${(bandwidth / 1e9).toFixed(0)} GB/s</text></svg></figure>`;
}

/** Resident memory from the start of the process to its end. */
function memoryCurve(name, { memory }) {
  const [width, height, margin] = [420, 220, 40];
  const last = memory.at(-1)[0];
  const most = Math.max(...memory.map(([, bytes]) => bytes));
  const path = memory.map(
    ([time, bytes]) =>
      `${(margin + (time / last) * (width - 2 * margin)).toFixed(1)},${(height - margin - (bytes / most) * (height - 2 * margin)).toFixed(1)}`,
  );
  return `<figure><figcaption>${escape(name)}: resident memory</figcaption><svg viewBox="0 0 ${width} ${height}" width="${width}"><polyline points="${path.join(" ")}"/><text x="${margin}" y="${margin - 8}">${(most / 2 ** 20).toFixed(0)} MiB</text><text x="${width - margin}" y="${height - margin + 14}" text-anchor="end">${last.toFixed(0)} s</text></svg></figure>`;
}

/** The insides of a workload: parts, roofline, memory over time. */
function insides(byName) {
  const figures = ownResults(byName, "memory").flatMap(([name, result]) => [
    roofline(name, result),
    memoryCurve(name, result),
  ]);
  const tables = ownResults(byName, "parts").map(([name, result]) => partsTable(name, result));
  return `${tables.join("\n")}<div class="figures">${figures.join("\n")}</div>`;
}

function curves({ curves: all }) {
  if (all.length === 0) return "";
  const sorted = (list) => list.toSorted((a, b) => a.rows * a.length - b.rows * b.length);
  const kept = all.filter(({ mode }) => mode === "float32");
  const groups = [
    ["one row, longer", sorted(kept.filter(({ rows }) => rows === 1))],
    ["one row, longer, activations in a file", sorted(all.filter(({ mode }) => mode === "offload"))],
    ["rows of 128 tokens, more", sorted(kept.filter(({ length }) => length === 128))],
  ];
  const figures = groups.flatMap(([title, points]) => [
    curve(points, `${title}: tokens/s`, "tokensPerSecond", (value) => value.toFixed(0)),
    curve(points, `${title}: peak memory, MiB`, "peakBytes", (value) => (value / 2 ** 20).toFixed(0)),
  ]);
  return `<h2>Length and batch</h2><div class="figures">${figures.join("\n")}</div>`;
}

/** The page, whole in one file. */
export function renderHtml(report) {
  const rows = rowsOf(report);
  const sections = Object.keys(report.results).map((workload) => {
    const keys = [...new Set(rows.filter((row) => row.workload === workload).map(({ key }) => key))];
    const tables = keys.map((key) => {
      const part = rows.filter((row) => row.workload === workload && row.key === key);
      const { title, more } = part[0].measure;
      return `<table><caption>${escape(title)} <small>(${more ? "more" : "less"} is better)</small></caption>
<thead><tr><th></th><th></th><th>median</th><th>spread</th><th>against PEFT float32</th><th>against PEFT's best</th></tr></thead>
<tbody>${bars(part)}</tbody></table>`;
    });
    return `<h2>${escape(workload)}</h2>\n${tables.join("\n")}\n${insides(report.results[workload])}`;
  });
  return `<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>peft.js beside Hugging Face PEFT</title>
<style>
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}
table{border-collapse:collapse;width:100%;margin:1rem 0}caption{text-align:left;font-weight:600}small{font-weight:400;color:#666}
th{font-weight:400;color:#666;text-align:left;font-size:.85rem}td,th{padding:.15rem .6rem;white-space:nowrap}.number{text-align:right}
.bar{width:45%}.bar div{height:.9rem;border-radius:2px}.ours{background:#2364aa}.peer{background:#b9b9b9}
.figures{display:flex;flex-wrap:wrap;gap:1rem}figure{margin:0}svg{background:#fafafa}polyline{fill:none;stroke:#2364aa;stroke-width:2}circle{fill:#2364aa}text{font-size:10px}
</style>
<h1>peft.js beside Hugging Face PEFT</h1>
<p>${escape(report.machine)}; ${escape(report.date)}; medians of ${report.rounds} runs, a process each, taking turns; ${escape(report.load)}.</p>
${sections.join("\n")}
${curves(report)}
</html>
`;
}
