// The control room: follows the stream, keeps the last events, draws.
import { follow, set_token, take_from_address } from "./stream.js";
import { add_sample, start_charts } from "./charts.js";
import { switches } from "./demo.js";
import { follow_policy, start_policy } from "./policy.js";
import { notices, pictures, row, tiles, topology } from "./draw.js";

const MOST = 60, rows = document.getElementById("rows"), views = new Map();
let fleet = null, state = null, lost = false;

function draw() {
  if (!state) return;
  document.querySelector("h1").textContent = state.bundle.name;
  document.title = `${state.bundle.name} · control room`;
  document.getElementById("bundle").textContent = state.bundle.fingerprint;
  topology(state.tiers);
  if (fleet.demo) switches(state);
  tiles(state, fleet.exits);
  notices(state, lost, !fleet.demo);
  const versions = [...new Set(state.tiers.filter((tier) => tier.policy && tier.state === "alive").map((tier) => tier.policy))];
  document.getElementById("version").textContent = `policy ${versions.join(" and ") || "?"}`;
  const cloud = state.tiers.find((tier) => tier.tier === "cloud" && tier.state === "alive");
  follow_policy(cloud?.policy, state.figures.recorded, fleet.exits);
}

function add(events, fresh) {
  for (const event of events) {
    const made = row(event, fleet.devices);
    if (fresh) made.classList.add("new");
    rows.prepend(made);
    if (views.has(event.id)) pictures(made.querySelector(".views"), views.get(event.id));
  }
  while (rows.children.length > MOST) rows.lastChild.remove();
  document.getElementById("no-events").hidden = rows.children.length > 0;
}

function see(found) {
  for (const [id, seen] of Object.entries(found)) {
    views.set(id, { ...views.get(id), ...seen });
    if (views.size > MOST) views.delete(views.keys().next().value);
    for (const made of rows.children) if (made.dataset.id === id) pictures(made.querySelector(".views"), views.get(id));
  }
  if (views.size) rows.closest("table").classList.add("with-views");
}

const on = {
  whole(document_) {
    fleet = document_.fleet;
    state = document_.state;
    rows.replaceChildren();
    see(document_.views);
    add(document_.events.slice(-MOST), false);
    draw();
    start_charts(document_.figures, document_.history);
  },
  sample(found) { add_sample(found); },
  state(found) { state = found; draw(); },
  events(found) { add(found, true); },
  views(found) { see(found); },
};

function connection(how, refused = false) {
  const live = document.getElementById("live"), said = { live: "live", lost: "connection lost, trying again", refused: "a token is needed" };
  live.className = { live: "alive", lost: "gone", refused: "paused" }[how];
  document.getElementById("live-text").textContent = said[how];
  document.getElementById("tokens").hidden = !refused;
  lost = how === "lost";
  draw();
}

document.getElementById("tokens").addEventListener("submit", (submitted) => {
  submitted.preventDefault();
  set_token(document.getElementById("token").value.trim());
  start();
});
window.addEventListener("resize", draw);

function start() { follow("room/stream", on, connection); }
take_from_address();
start_policy();
start();
