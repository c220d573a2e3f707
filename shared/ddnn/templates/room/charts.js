// What was measured over time, by uPlot; redrawn with the page's width and the reader's colours.
import { ask } from "./stream.js";
import { make, percent, size } from "./draw.js";

const HEIGHT = 150, MOST = 720;
const CHARTS = [
  ["Events a second", [["rate", "accent", "events/s"]], (value) => value.toFixed(1)],
  ["p50 and p95, ms", [["p50_ms", "local", "p50"], ["p95_ms", "edge", "p95"]], (value) => value.toFixed(0)],
  ["Answered at", [["device", "device"], ["local", "local"], ["edge", "edge"], ["cloud", "cloud"], ["degraded", "bad"]], (value) => percent(value, 0), [0, 1]],
  ["Bytes an event", [["bytes_devices", "device", "to the edge"], ["bytes_edges", "cloud", "to the cloud"]], size],
  ["As the cloud, by audits", [["agreement", "accent", "alike"]], (value) => percent(value, 1), [0, 1]],
  ["CPU an event, ms", [["cpu_ms", "accent", "all tiers"]], (value) => value.toFixed(0)],
];
let names = [], samples = [], made = [], hours = 1;

export function start_charts(figures, history) {
  [names, samples] = [figures, history];
  draw();
}

export function add_sample(sample) {
  if (hours > 1) return;
  samples.push(sample);
  if (samples.length > MOST) samples.shift();
  if (!made.length) draw();
  made.forEach(({ chart, series }) => chart.setData(data(series)));
}

const column = (name) => samples.map((sample) => sample[1 + names.indexOf(name)]);
const data = (series) => [samples.map((sample) => sample[0]), ...series.map(([name]) => column(name))];
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
function clock(_, ticks) {
  const given = { hour: "2-digit", minute: "2-digit", hour12: false, ...ticks[1] - ticks[0] < 60 ? { second: "2-digit" } : {} };
  return ticks.map((tick) => new Date(1000 * tick).toLocaleTimeString("en-GB", given));
}

function empty() {
  const some = samples.length > 1;
  document.getElementById("no-samples").hidden = some;
  document.getElementById("charts").hidden = !some;
}

function draw() {
  const root = document.getElementById("charts");
  made.forEach(({ chart }) => chart.destroy());
  root.replaceChildren();
  empty();
  if (root.hidden) { made = []; return; }
  const boxes = CHARTS.map(([heading]) => make("div", { class: "chart" }, make("h3", {}, heading)));
  root.append(...boxes);  // all of them, before any is measured
  made = CHARTS.map(([, series, shown, range], place) => {
    const box = boxes[place];
    const axis = { stroke: colour("faint"), grid: { stroke: colour("rule"), width: 1 }, ticks: { stroke: colour("rule") }, font: "11px system-ui" };
    const chart = new uPlot({
      width: box.clientWidth, height: HEIGHT, legend: { live: false }, cursor: { show: false },
      scales: range ? { y: { range } } : { y: { range: (_, low, high) => [Math.min(0, low ?? 0), (high ?? 1) * 1.1 || 1] } },
      axes: [{ ...axis, space: 64, values: clock }, { ...axis, size: (_, labels) => Math.max(56, 14 + 7 * Math.max(0, ...(labels ?? []).map((label) => label.length))), values: (_, ticks) => ticks.map((tick) => shown(tick)) }],
      series: [{}, ...series.map(([name, tint, label]) => ({ label: label ?? name, stroke: colour(tint), width: 2, spanGaps: true, points: { show: false } }))],
    }, data(series), box);
    return { chart, series, box };
  });
}

let timer = 0;
window.addEventListener("resize", () => {
  clearTimeout(timer);
  timer = setTimeout(() => made.forEach(({ chart, box }) => chart.setSize({ width: box.clientWidth, height: HEIGHT })), 100);
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
document.getElementById("hours").addEventListener("change", async (changed) => {
  hours = +changed.target.value;
  try { samples = (await ask("GET", `room/history?hours=${hours}`)).document.samples; draw(); } catch { /* the old one stays */ }
});
