// Draws docs/performance.svg: on the left each server's CPU as a multiple of the
// floor's, on the right the CPU of one delivery as a room grows. The colours
// follow the reader's light or dark scheme.
import { writeFileSync } from "node:fs";
import { against, section } from "./data.mjs";

const servers = [
  { key: "ours", name: "this module" },
  { key: "gws", name: "gws (Go)" },
  { key: "centrifuge", name: "centrifuge (Go)" },
  { key: "node", name: "socket.io (Node)" },
];

const style = `
  text { font: 12px system-ui, sans-serif; fill: #1f2328; }
  .title { font-weight: 600; font-size: 13px; }
  .quiet { fill: #59636e; }
  .end { text-anchor: end; }
  .middle { text-anchor: middle; }
  .line { stroke: #d1d9e0; }
  .floor { stroke: #59636e; stroke-dasharray: 4 3; fill: none; stroke-width: 1.5; }
  .ours { fill: #0969da; } .gws { fill: #1a7f37; } .centrifuge { fill: #9a6700; } .node { fill: #8c959f; }
  .curve { stroke: #0969da; stroke-width: 2; fill: none; }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc; }
    .quiet { fill: #9198a1; }
    .line { stroke: #3d444d; }
    .floor { stroke: #9198a1; }
    .ours { fill: #4493f8; } .gws { fill: #3fb950; } .centrifuge { fill: #d29922; } .node { fill: #656c76; }
    .curve { stroke: #4493f8; }
  }`;

const escape = (s) => s.replace(/[&<>]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;" })[c]);
const text = (x, y, s, c = "") => `<text x="${x}" y="${y}" class="${c}">${escape(s)}</text>`;
const line = (x1, y1, x2, y2, c = "line") => `<line x1="${x1}" y1="${y1}" x2="${x2}" y2="${y2}" class="${c}"/>`;
const round = (v) => Math.round(v * 10) / 10;

/** bars is one group for each comparison, one bar for each server that was measured. */
function bars(left, top, width) {
  const label = 300;
  const groups = against.filter((a) => !a.ours).map(({ name, label, metric }) => {
    const of = section(name);
    const values = servers.map((s) => ({ ...s, ratio: of(name, s.key, metric) / of(name, "floor", metric) }));
    return { label, values: values.filter((v) => v.ratio > 0) };
  }).filter((g) => g.values.length > 0);
  const longest = Math.max(2, ...groups.flatMap((g) => g.values.map((v) => v.ratio)));
  const scale = (v) => (v / longest) * (width - label - 40);
  const out = [text(left, top, "Server CPU, as a multiple of the floor's (dashed)", "title")];
  let y = top + 22;
  for (const { label: name, values } of groups) {
    out.push(text(left + label - 8, y + values.length * 7 + 3, name, "end"));
    for (const { key, ratio } of values) {
      out.push(`<rect x="${left + label}" y="${y}" width="${round(scale(ratio))}" height="12" rx="2" class="${key}"/>`);
      out.push(text(round(left + label + Math.max(scale(ratio), scale(1)) + 5), y + 10, ratio.toPrecision(2), "quiet"));
      y += 14;
    }
    y += 12;
  }
  const floor = round(left + label + scale(1));
  out.push(line(floor, top + 14, floor, y - 6, "floor"));
  servers.forEach(({ key, name }, i) => {
    const x = left + label - 160 + i * 125;
    out.push(`<rect x="${x}" y="${y + 2}" width="10" height="10" rx="2" class="${key}"/>`, text(x + 15, y + 11, name));
  });
  return { out, bottom: y + 20 };
}

/** curves is µs per delivery over the members of a room, with its own axis. */
function curves(left, top, width, bottom) {
  const of = section("members");
  const sizes = ["10", "100", "1000", "10000"];
  const points = (server) => sizes.map((n) => of(n, server, "us_cpu_per_delivery")).filter((v) => v !== undefined);
  const [ours, floor] = [points("ours"), points("floor")];
  const out = [text(left, top, "CPU per delivery as a room grows, µs", "title")];
  if (ours.length < sizes.length || floor.length < sizes.length) return out;
  const step = [0.1, 0.2, 0.5, 1, 2, 5, 10].find((s) => Math.max(...ours, ...floor) / s <= 6) ?? 20;
  const most = Math.ceil(Math.max(...ours, ...floor) / step) * step;
  const [x0, x1, y0, y1] = [left + 34, left + width - 10, bottom - 40, top + 24];
  const x = (i) => round(x0 + 20 + (i / (sizes.length - 1)) * (x1 - x0 - 40));
  const y = (v) => round(y0 - (v / most) * (y0 - y1));
  for (let v = 0; v <= most + step / 2; v += step) {
    out.push(line(x0, y(v), x1, y(v)), text(x0 - 6, y(v) + 4, String(round(v)), "quiet end"));
  }
  sizes.forEach((n, i) => out.push(text(x(i), y0 + 18, Number(n).toLocaleString("en-US"), "quiet middle")));
  const path = (values) => values.map((v, i) => `${i ? "L" : "M"}${x(i)} ${y(v)}`).join(" ");
  out.push(`<path d="${path(floor)}" class="floor"/>`, `<path d="${path(ours)}" class="curve"/>`);
  ours.forEach((v, i) => out.push(`<circle cx="${x(i)}" cy="${y(v)}" r="3.5" class="ours"/>`));
  out.push(text((x0 + x1) / 2, y0 + 36, "members; 8 messages in flight; dashed: the floor", "quiet middle"));
  return out;
}

const [width, top, split] = [1000, 24, 640];
const left = bars(10, top, split - 30);
const height = Math.max(left.bottom, 300);
const right = curves(split, top, width - split, height);
writeFileSync(new URL("../docs/performance.svg", import.meta.url), `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" role="img" aria-label="Server CPU beside the floor and the peers, and as a room grows">
<style>${style}
</style>
${[...left.out, ...right].join("\n")}
</svg>
`);
