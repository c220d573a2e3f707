// What is drawn of a state: everything told by a tier goes in as text, never as markup.
export const NONE = "—";
export const percent = (share, digits = 1) => share == null ? NONE : `${(100 * share).toFixed(digits)} %`;
export const number = (value, digits = 0) =>
  value == null ? NONE : value.toLocaleString("en", { maximumFractionDigits: digits, minimumFractionDigits: digits });
export const size = (bytes) => bytes == null ? NONE : bytes < 1000 ? `${bytes.toFixed(0)} B` : `${(bytes / 1000).toFixed(1)} kB`;

export function make(tag, given = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(given)) {
    if (name === "class") node.className = value;
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== false && value != null) node.setAttribute(name, value === true ? (name.startsWith("aria-") ? "true" : "") : value);
  }
  node.append(...children);
  return node;
}

const text = (node, value) => { if (node.textContent !== value) node.textContent = value; };
const classed = (node, value) => { if (node.className !== value) node.className = value; };
const PLURAL = { device: "devices", edge: "edges", cloud: "clouds" };

export const title = (tier, tiers) =>
  tier.tier === "device" || tiers.filter((other) => other.tier === tier.tier).length > 1 ? `${tier.tier}-${tier.index}` : tier.tier;

const HOW = { alive: "alive", gone: "gone", unseen: "not seen", paused: "paused", draining: "shutting down" };

export function topology(tiers) {
  const root = document.getElementById("topology");
  for (const kind of ["device", "edge", "cloud"]) {
    let column = root.querySelector(`.${PLURAL[kind]}`);
    if (!column) root.append(column = make("div", { class: `tiers ${PLURAL[kind]}` }));
    for (const tier of tiers.filter((each) => each.tier === kind)) {
      let card = document.getElementById(`tier-${tier.key}`);
      if (!card) {
        card = make("div", { id: `tier-${tier.key}`, class: "tier" },
          make("strong", {}, make("span", { class: "dot", "aria-hidden": true }), make("span", { class: "name" }), make("span", { class: "how" })),
          make("span", { class: "faint what" }));
        column.append(card);
      }
      classed(card, `tier ${tier.state}`);
      classed(card.querySelector(".dot"), `dot ${tier.state}`);
      text(card.querySelector(".name"), title(tier, tiers));
      text(card.querySelector(".how"), HOW[tier.state] ?? tier.state);
      text(card.querySelector(".what"), what(tier));
    }
  }
  links(root, tiers);
}

function what(tier) {
  if (tier.requests == null) return "nothing heard yet";
  if (tier.state === "gone") return `last heard of ${number(tier.told_s_ago)} s ago`;
  const parts = [];
  if (tier.p50_ms != null) parts.push(`p95 ${number(tier.p95_ms)} ms`);
  if (tier.circuit && tier.circuit !== "closed") parts.push("uplink open");
  else if (tier.round_trip_ms != null) parts.push(`up ${number(tier.round_trip_ms)} ms`);
  if (tier.in_flight) parts.push(`${number(tier.in_flight)} in flight`);
  return parts.join(" · ") || `${number(tier.requests)} requests`;
}

function links(root, tiers) {
  const svg = document.getElementById("links"), box = root.getBoundingClientRect();
  svg.setAttribute("viewBox", `0 0 ${box.width} ${box.height}`);
  const at = (key) => document.getElementById(`tier-${key}`).getBoundingClientRect();
  const by = Object.fromEntries(tiers.map((tier) => [tier.key, tier]));
  for (const tier of tiers.filter((each) => each.above)) {
    const from = at(tier.key), to = at(tier.above), across = to.left > from.right - 4;
    const [x, y] = across ? [from.right - box.left, (from.top + from.bottom) / 2 - box.top] : [(from.left + from.right) / 2 - box.left, from.top - box.top];
    const [u, v] = across ? [to.left - box.left, (to.top + to.bottom) / 2 - box.top] : [(to.left + to.right) / 2 - box.left, to.bottom - box.top];
    const d = across ? `M${x} ${y}C${(x + u) / 2} ${y} ${(x + u) / 2} ${v} ${u} ${v}` : `M${x} ${y}C${x} ${(y + v) / 2} ${u} ${(y + v) / 2} ${u} ${v}`;
    const dead = tier.state === "gone" || by[tier.above].state === "gone" || by[tier.above].state === "paused" || (tier.circuit && tier.circuit !== "closed");
    const unknown = tier.state === "unseen" || tier.state === "paused";
    const lives = unknown ? "" : dead ? "gone" : (tier.round_trip_ms ?? 0) > 150 ? "slow" : "alive";
    for (const kind of ["link", "flow"]) {
      const id = `${kind}-${tier.key}`;
      let path = document.getElementById(id);
      if (!path) {
        path = document.createElementNS("http://www.w3.org/2000/svg", "path");
        path.setAttribute("id", id);
        svg.append(path);
      }
      if (path.getAttribute("d") !== d) path.setAttribute("d", d);
      const moving = lives && lives !== "gone" && flows(tier);
      path.setAttribute("class", kind === "link" ? `link ${lives}` : moving ? "flow" : "flow down");
    }
  }
}

const sent = new Map();  // what a tier had sent up when it was last drawn, and when that last grew
function flows(tier) {
  const before = sent.get(tier.key) ?? { up: tier.up, at: -1e9 };
  const at = tier.up > before.up ? performance.now() : before.at;
  sent.set(tier.key, { up: tier.up, at });
  return performance.now() - at < 2000;
}

export function tiles(state, exits) {
  const f = state.figures, agreement = state.audits?.agreement, root = document.getElementById("tiles");
  const bytes = f.bytes_devices == null ? null : f.bytes_devices + (f.bytes_edges ?? 0);
  const budget = Object.entries(state.budget);
  const least = Math.min(1, ...budget.flatMap(([, account]) => Object.values(account.left)));
  const shown = [
    ["events a second", number(f.rate, 1), `${number(f.events)} in ${number(f.seconds)} s`],
    ["as the cloud, by audits", percent(agreement?.share), agreement?.share == null ? "no audits yet" : `${percent(agreement.low)} to ${percent(agreement.high)}`, Object.values(state.audits?.exits ?? {}).some((e) => e.alarm) ? "bad" : ""],
    ["bytes an event", size(bytes), f.bytes_devices == null ? "" : `${size(f.bytes_devices)} to the edge, ${size(f.bytes_edges)} to the cloud`],
    ["CPU an event", f.cpu_ms == null ? NONE : `${number(f.cpu_ms, 1)} ms`, "all tiers"],
    ["p50 / p95", f.p50_ms == null ? NONE : `${number(f.p50_ms, f.p50_ms < 10 ? 1 : 0)} / ${number(f.p95_ms, f.p95_ms < 10 ? 1 : 0)}`, "ms, at the slowest device"],
    ["degraded", percent(f.degraded), "answered lower than wanted", f.degraded > 0.001 ? "warn" : ""],
    ["waiting", number(f.waiting), `${number(f.in_flight)} requests in flight`],
    ["doubts", number(f.doubts), "kept to be labelled"],
    ["budget left", budget.length ? percent(least, 0) : "no limit", budget.length ? "the account with least" : "", budget.some(([, a]) => a.alarm) ? "bad" : ""],
  ];
  shown.forEach(([name, value, more, how], place) => {
    let tile = root.children[place];
    if (!tile) root.append(tile = make("div", {}, make("dt"), make("dd", {}, make("span"), make("small"))));
    text(tile.firstChild, name);
    classed(tile.lastChild, how ?? "");
    text(tile.lastChild.firstChild, value);
    text(tile.lastChild.lastChild, more);
  });
  const bar = document.getElementById("exits"), legend = document.getElementById("exits-legend");
  exits.forEach((exit, place) => {
    if (!bar.children[place]) {
      bar.append(make("span", { class: exit }));
      legend.append(make("li", { class: exit }, make("span", { class: "mark", "aria-hidden": true }), make("span")));
    }
    bar.children[place].style.flexGrow = f.exits[exit] ?? 0;
    text(legend.children[place].lastChild, `${exit} ${percent(f.exits[exit])}`);
  });
  bar.setAttribute("aria-label", exits.map((exit) => `${exit} ${percent(f.exits[exit])}`).join(", "));
}

const costs = (cost) => cost == null ? "" : `, ${cost < 0 ? "+" : "−"}${number(Math.abs(100 * cost), 1)} points without it`;

export function notices(state, lost, by_cloud) {
  const found = [], { tiers, audits, budget } = state;
  if (lost) found.push(["bad", by_cloud
    ? "The cloud, which serves this page, does not answer. Below it the fleet answers on by itself; what is shown is what was last heard."
    : "The program that serves this page does not answer; what is shown is what was last heard."]);
  if (state.rollout && tiers.some((tier) => tier.tier === "cloud" && tier.state === "alive")) found.push(["", `A rollout is under way: ${state.rollout}.`]);
  for (const tier of tiers) {
    const name = title(tier, tiers);
    if (tier.state === "gone" && tier.tier === "cloud") found.push(["bad", "The cloud is gone. Every event still gets an answer: those that were the cloud's are answered at the edge, less surely, and marked degraded."]);
    if (tier.state === "gone" && tier.tier === "edge") found.push(["bad", `${name} is gone. Its devices answer by themselves, each from what it sees alone.`]);
    if (tier.state === "paused") found.push(["bad", `${name} is paused: it is there and does not answer. Events go on without it.`]);
    if (tier.state === "draining") found.push(["", `${name} is shutting down.`]);
    if (tier.circuit === "open" && tier.state === "alive" && tiers.find((t) => t.key === tier.above)?.state === "alive")
      found.push(["bad", `${name} cannot reach ${tier.above.split("-")[0]}: the link is cut, or too slow.`]);
  }
  const devices = tiers.filter((tier) => tier.tier === "device"), away = devices.filter((tier) => tier.state === "gone");
  if (away.length) found.push(["bad", `${away.map((tier) => title(tier, tiers)).join(", ")} ${away.length > 1 ? "are" : "is"} gone. Events are answered by the ${devices.length - away.length} others.`]);
  const late = tiers.filter((tier) => tier.late?.share > 0.05);
  if (late.length) {
    const whose = late.map((tier) => `${title(tier, tiers)} (${percent(tier.late.share, 0)} of its events, by ${number(tier.late.p50_ms)} ms, p95 ${number(tier.late.p95_ms)}${costs(tier.late.cost)})`);
    found.push(["", `Often late, so that events go on without them: ${whose.join(", ")}. A policy with a wait_ms of ${number(Math.max(...late.map((tier) => tier.late.keeps_ms)))} would keep nearly all.`]);
  }
  for (const [exit, seen] of Object.entries(audits?.exits ?? {}))
    if (seen.alarm) found.push(["bad", `Audits of the ${exit} exit: ${percent(seen.share)} unlike the cloud, ${percent(seen.promised)} promised. Tune again.`]);
  for (const [whose, account] of Object.entries(budget))
    if (account.alarm) found.push(["", `The escalation budget of ${whose} is spent; ${number(account.exceeded)} events were answered below.`]);
  const root = document.getElementById("notices"), wanted = JSON.stringify(found);
  if (root.dataset.shown === wanted) return;
  root.dataset.shown = wanted;
  root.replaceChildren(...found.map(([kind, sentence]) => make("p", { class: `notice ${kind}` }, sentence)));
}

export function row(event, devices) {
  const time = new Date(1000 * event.at).toLocaleTimeString([], { hour12: false });
  const seen = [...event.devices].map((bit) => bit === "1" ? "●" : "○").join("");
  const took = [...event.devices].filter((bit) => bit === "1").length;
  return make("tr", { "data-id": event.id, "data-exit": event.exit },
    make("td", {}, time), make("td", { class: "id", title: event.id }, event.id || NONE), make("td", {}, event.class),
    make("td", { class: event.exit }, make("span", { class: "pill" }, event.exit), ...event.reason ? [make("span", { class: "reason" }, event.reason)] : []),
    make("td", {}, make("meter", { min: 0, max: 1, value: event.confidence, "aria-label": `confidence ${percent(event.confidence, 0)}` }), ` ${percent(event.confidence, 0)}`),
    make("td", { class: "seen" }, make("span", { role: "img", "aria-label": `${took} of ${devices} devices` }, seen)),
    make("td", { class: "number" }, event.ms == null ? NONE : number(event.ms, 1)),
    make("td", { class: "number" }, event.bytes == null ? NONE : number(event.bytes)),
    make("td", { class: "views" }));
}

export function pictures(cell, seen) {
  cell.replaceChildren(...Object.entries(seen).sort(([a], [b]) => a - b).map(([device, png]) =>
    make("img", { src: `data:image/png;base64,${png}`, alt: `what device-${device} saw` })));
}
