// Thresholds: tried on recorded decisions as they are moved, then applied, or taken back.
import { admin, ask, set_admin } from "./stream.js";
import { make, NONE, number, percent, size } from "./draw.js";

const SCALES = [0, 0.25, 0.5, 0.75, 1.25, 1.5, 2, 3], REST_MS = 250;
const at = (id) => document.getElementById(id);
let policy = null, etag = null, version = null, timer = 0, latest = 0, points = [], drawn = false, exits = [];

export async function follow_policy(of, recorded, all_exits) {
  exits = all_exits;
  at("recorded").textContent = recorded ? `on the last ${number(recorded)} decisions` : "no decisions are recorded yet";
  if (of == null) {
    if (!inputs().length) say("The thresholds are the cloud's to say, which does not answer now; they are here when it does.");
    return;
  }
  if (of === version) return;
  version = of;
  try {
    const found = await ask("GET", "v2/policy");
    if (found.etag === etag && inputs().length) return;  // it is shown already, with what was said of it
    [policy, etag] = [found.document, found.etag];
    points = [];
    drawn = false;
    show();
  } catch { version = null; /* the next state asks again */ }
}

function show() {
  const root = at("sliders");
  if (root.contains(document.activeElement) && moved()) return;  // not under a hand that moves it
  root.replaceChildren(...exits.filter((exit) => exit !== "cloud").map((exit) => {
    const value = policy.thresholds[exit], output = make("output", { for: `threshold-${exit}` }, shown(value));
    return make("div", { class: `slider ${exit}` },
      make("label", { for: `threshold-${exit}` }, make("span", { class: "mark", "aria-hidden": true }), exit),
      make("input", { id: `threshold-${exit}`, type: "range", min: 0, max: 1, step: 0.005, value, "data-exit": exit,
        oninput: (moved_) => { output.textContent = shown(+moved_.target.value); try_soon(); } }), output);
  }));
  say(policy.signature ? "Policies here are signed: try them here, sign and apply them with ddnn policy." : "Move a threshold to see what it would do.");
  buttons(false);
}

const shown = (value) => value ? value.toFixed(3) : "off";
const inputs = () => [...at("sliders").querySelectorAll("input")];
const thresholds = () => ({ ...policy.thresholds, ...Object.fromEntries(inputs().map((input) => [input.dataset.exit, +input.value])) });
const moved = () => policy && inputs().some((input) => Math.abs(+input.value - policy.thresholds[input.dataset.exit]) > 0.0026);

function proposed(values) {
  const other = structuredClone(policy);
  delete other.signature;
  other.thresholds = values;
  for (const part of Object.values(other.live ?? {})) part.thresholds = values;
  return JSON.stringify(other);
}

function say(sentence, kind = "faint") {
  const line = at("trial-says");
  line.textContent = sentence;
  line.className = kind;
}

function buttons(possible) {
  at("apply").disabled = !possible;
  at("reset").disabled = !moved();
}

function try_soon() {
  clearTimeout(timer);
  buttons(false);
  timer = setTimeout(try_now, REST_MS);
}

async function tried(values) {
  const { document } = await ask("PUT", "room/trial", { body: proposed(values), secret: admin() });
  return document.dry_run;
}

async function try_now() {
  if (!admin()) { need_token(); return; }
  const mine = ++latest;
  say("trying …");
  try {
    const found = await tried(thresholds());
    if (mine !== latest) return;
    say(found.says, "");
    if (found.after) {
      note(found.after, "proposed");
      compare(found);
      if (!drawn) frontier(mine);
    }
    buttons(moved());
  } catch (error) {
    if (mine === latest) failed(error);
  }
}

function failed(error) {
  if (error.status === 401 || (error.status === 403 && admin())) need_token(error.message);
  say(error.message, "problem");
}

function need_token(problem = "") {
  at("admin").hidden = false;
  at("admin-problem").textContent = problem && admin() ? problem : "";
  say("Trying and applying a policy needs the admin token.", "problem");
  at("admin-token").focus({ preventScroll: true });
}

function compare(found) {
  const rows = [["bytes an event", size(found.before.bytes), size(found.after.bytes)],
    ["expected accuracy", percent(found.before.accuracy), percent(found.after.accuracy)],
    ...exits.map((exit) => [`answered at ${exit}`, percent(found.before.share[exit] ?? 0), percent(found.after.share[exit] ?? 0)])];
  at("compared").replaceChildren(...rows.map(([name, before, after]) => make("tr", {}, make("th", { scope: "row" }, name), make("td", { class: "number" }, before), make("td", { class: "number" }, after))));
  at("comparison").hidden = false;
  points = points.filter((point) => point.kind !== "running");
  note(found.before, "running");
}

function note(outcome, kind) {
  if (outcome.accuracy == null) return;
  if (kind !== "tried") points = points.map((point) => point.kind === kind ? { ...point, kind: "tried" } : point);
  points.push({ bytes: outcome.bytes, accuracy: outcome.accuracy, kind });
  draw_frontier();
}

// All thresholds together, from off to three times what they are, one after the other behind whatever is moved.
async function frontier(mine) {
  drawn = true;
  for (const scale of SCALES) {
    if (mine !== latest || document.visibilityState === "hidden") { drawn = false; return; }
    const values = Object.fromEntries(Object.entries(policy.thresholds).map(([exit, value]) => [exit, Math.min(1, scale * value)]));
    try { const found = await tried(values); if (found.after) note(found.after, "tried"); } catch { return; }
  }
}

function draw_frontier() {
  const svg = at("frontier"), width = 420, height = 200, left = 52, below = 34, namespace = "http://www.w3.org/2000/svg";
  const xs = points.map((point) => point.bytes), ys = points.map((point) => point.accuracy);
  const wide = Math.max(...xs) - Math.min(...xs) || 1, high = Math.max(...ys) - Math.min(...ys) || 0.001;
  const x = (bytes) => left + 12 + (width - left - 30) * (bytes - Math.min(...xs)) / wide;
  const y = (accuracy) => height - below - 12 - (height - below - 30) * (accuracy - Math.min(...ys)) / high;
  const put = (tag, given, said) => {
    const node = document.createElementNS(namespace, tag);
    for (const [name, value] of Object.entries(given)) node.setAttribute(name, value);
    if (said != null) node.textContent = said;
    return node;
  };
  let best = -1;
  const hull = [...points].sort((a, b) => a.bytes - b.bytes || b.accuracy - a.accuracy).filter((point) => point.accuracy > best && ((best = point.accuracy), true));
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.replaceChildren(
    put("path", { class: "axis", d: `M${left} 8V${height - below}H${width - 8}` }),
    ...[...new Set([Math.min(...ys), Math.max(...ys)])].map((value) => put("text", { x: left - 6, y: y(value) + 4, "text-anchor": "end" }, percent(value))),
    ...[...new Set([Math.min(...xs), Math.max(...xs)])].map((value, place) => put("text", { x: x(value), y: height - below + 15, "text-anchor": place ? "end" : "start" }, size(value))),
    put("text", { x: (left + width) / 2, y: height - 4, "text-anchor": "middle" }, "bytes an event"),
    put("path", { class: "hull", d: hull.map((point, place) => `${place ? "L" : "M"}${x(point.bytes)} ${y(point.accuracy)}`).join("") }),
    ...points.map((point) => put("circle", { class: point.kind, cx: x(point.bytes), cy: y(point.accuracy), r: point.kind === "tried" ? 3 : 6 })),
    ...points.filter((point) => point.kind !== "tried").map((point) => put("text", { class: point.kind, x: x(point.bytes), y: y(point.accuracy) + (point.kind === "running" || y(point.accuracy) > height - below - 24 ? -10 : 19), "text-anchor": x(point.bytes) > width / 2 ? "end" : "start" }, point.kind)),
  );
  svg.setAttribute("aria-label", points.filter((point) => point.kind !== "tried").map((point) => `${point.kind}: ${percent(point.accuracy)} at ${size(point.bytes)}`).join("; ") || NONE);
  at("frontier-figure").hidden = false;
}

async function write(method, path, body) {
  if (!admin()) { need_token(); return; }
  latest++;
  try {
    const { document } = await ask(method, path, { body, secret: admin(), more: { "if-match": etag } });
    const said = `Version ${document.version} is in force, after version ${document.previous}. ${document.note}`;
    const found = await ask("GET", "v2/policy");
    [policy, etag, version] = [found.document, found.etag, found.document.version];
    points = [];
    drawn = false;
    show();
    say(said, "done");
  } catch (error) { failed(error); }
}

export function start_policy() {
  at("apply").addEventListener("click", () => write("PUT", "v2/policy", proposed(thresholds())));
  at("rollback").addEventListener("click", () => write("POST", "v2/policy/rollback"));
  at("reset").addEventListener("click", () => { latest++; show(); });
  at("admin").addEventListener("submit", (submitted) => {
    submitted.preventDefault();
    set_admin(at("admin-token").value.trim());
    at("admin-token").value = "";
    at("admin").hidden = true;
    if (moved()) try_now(); else say("Move a threshold to see what it would do.");
  });
}
