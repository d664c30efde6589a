import type { TrainEvent } from "../train/event.js";

const [WIDTH, HEIGHT] = [720, 360];
const MARGIN = { left: 60, right: 16, top: 36, bottom: 44 };

interface Point {
  readonly x: number;
  readonly y: number;
}

/** Round numbers that divide a range into about `count` parts. */
function ticks(low: number, high: number, count: number): number[] {
  const rough = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((value) => value >= rough)!;
  const first = Math.ceil(low / step) * step;
  return Array.from({ length: Math.floor((high - first) / step + 1e-9) + 1 }, (_, i) => first + i * step);
}

/** A running mean that follows the curve more slowly the longer the run is. */
function smooth(points: readonly Point[]): Point[] {
  const keep = Math.min(0.95, 1 - 8 / (points.length + 8));
  let mean = points[0]?.y ?? 0;
  return points.map(({ x, y }) => {
    mean = keep * mean + (1 - keep) * y;
    return { x, y: mean };
  });
}

/**
 * The losses of a run as an SVG picture: every step, a smoothed line, and the held-out losses.
 *
 * @param title - shown above the picture.
 */
export function lossCurve(events: readonly TrainEvent[], title: string): string {
  const losses = events.flatMap((event) => (event.type === "step" ? [{ x: event.step, y: event.loss }] : []));
  const evals = events.flatMap((event) => (event.type === "eval" ? [{ x: event.step, y: event.loss }] : []));
  const all = [...losses, ...evals].filter(({ y }) => Number.isFinite(y));
  const right = Math.max(1, ...all.map(({ x }) => x));
  const top = Math.max(0.1, ...all.map(({ y }) => y)) * 1.05;
  const at = ({ x, y }: Point): string => {
    const px = MARGIN.left + (x / right) * (WIDTH - MARGIN.left - MARGIN.right);
    const py = HEIGHT - MARGIN.bottom - (y / top) * (HEIGHT - MARGIN.top - MARGIN.bottom);
    return `${px.toFixed(1)},${py.toFixed(1)}`;
  };
  const line = (points: readonly Point[], style: string): string =>
    points.length === 0 ? "" : `<polyline fill="none" ${style} points="${points.map(at).join(" ")}"/>`;
  const label = (x: string, y: string, text: string, more = ""): string =>
    `<text x="${x}" y="${y}" ${more}>${text}</text>`;
  const grid = [
    ...ticks(0, top, 5).map((y) => {
      const [, py] = at({ x: 0, y }).split(",") as [string, string];
      const rule = `<line x1="${MARGIN.left}" x2="${WIDTH - MARGIN.right}" y1="${py}" y2="${py}" stroke="#e5e7eb"/>`;
      return (
        rule +
        label(
          String(MARGIN.left - 8),
          String(Number(py) + 4),
          Number(y.toFixed(4)).toString(),
          'text-anchor="end"',
        )
      );
    }),
    ...ticks(0, right, 6).map((x) => {
      const [px] = at({ x, y: 0 }).split(",") as [string, string];
      return label(px, String(HEIGHT - MARGIN.bottom + 18), String(Math.round(x)), 'text-anchor="middle"');
    }),
  ];
  const dots = evals.map((point) => {
    const [cx, cy] = at(point).split(",");
    return `<circle cx="${cx}" cy="${cy}" r="3.5" fill="#dc2626"/>`;
  });
  const escaped = title.replace(/[<>&]/g, (sign) => `&#${sign.charCodeAt(0)};`);
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${HEIGHT}" viewBox="0 0 ${WIDTH} ${HEIGHT}"`,
    ` font-family="system-ui, sans-serif" font-size="12" fill="#374151">`,
    `<rect width="100%" height="100%" fill="#ffffff"/>`,
    label(String(MARGIN.left), "20", escaped, 'font-size="14" font-weight="600"'),
    ...grid,
    line(losses, 'stroke="#93c5fd" stroke-width="1"'),
    line(smooth(losses), 'stroke="#1d4ed8" stroke-width="2"'),
    line(evals, 'stroke="#dc2626" stroke-width="1.5" stroke-dasharray="4 3"'),
    ...dots,
    label(String(WIDTH / 2), String(HEIGHT - 8), "step", 'text-anchor="middle"'),
    label(
      String(WIDTH - MARGIN.right),
      "20",
      `loss${evals.length > 0 ? "   ● held out" : ""}`,
      'text-anchor="end"',
    ),
    "</svg>\n",
  ].join("\n");
}
