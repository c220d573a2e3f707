// One event at a time: its views, a key for each class; a label is sent as it is given.
const KEYS = "1234567890abcdefghijklmnopqrstuvwxyz";
const at = (id) => document.getElementById(id);
let state, row = 0;

function element(name, text, attributes = {}) {
  const made = document.createElement(name);
  made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function show() {
  const total = state.labels.length, done = state.labels.filter((label) => label >= 0).length;
  at("progress").textContent = `${done} of ${total} labelled`;
  at("problem").hidden = !state.problem;
  at("problem").textContent = state.problem ? `Labels are not in the file yet: ${state.problem}` : "";
  at("event").textContent = `${row + 1} of ${total}: ${state.event[row]}`;
  at("facts").textContent = `kept as ${state.kind[row]}`;
  at("views").replaceChildren(...state.visible[row].map((seen, device) => {
    const figure = document.createElement("figure");
    figure.append(seen ? element("img", "", { src: `views/${row}/${device}`, alt: `what device ${device} saw` })
      : element("div", "no view", { class: "none" }), element("figcaption", `device ${device}`));
    return figure;
  }));
  at("classes").replaceChildren(...state.classes.map((name, label) => {
    const button = element("button", `${name} `, { type: "button", "aria-pressed": state.labels[row] === label });
    if (label < KEYS.length) button.append(element("kbd", KEYS[label]));
    button.addEventListener("click", () => give(label));
    return button;
  }));
  at("said").open = false;
  const confidence = Math.round(100 * state.confidence[row]);
  at("answer").textContent = `${state.classes[state.answer[row]]} at ${state.exit[row]}, ${confidence} % sure`;
}

function go(to) {
  row = Math.min(Math.max(to, 0), state.labels.length - 1);
  show();
}

function unlabelled() {
  const count = state.labels.length;
  for (let step = 1; step <= count; step++) {
    const next = (row + step) % count;
    if (state.labels[next] < 0) return go(next);
  }
  show();
}

async function give(label) {
  const mine = row, before = state.labels[mine];
  state.labels[mine] = label;
  if (label >= 0) unlabelled(); else show();
  try {
    const reply = await fetch(`labels/${mine}`, { method: "PUT", body: JSON.stringify({ label }) });
    const said = await reply.json();
    if (!reply.ok) throw new Error(said.error);
    state.problem = said.problem;
  } catch (error) {
    state.labels[mine] = before;
    state.problem = `${error.message}; is the command still running?`;
  }
  if (state.problem || !at("problem").hidden || row === mine) show();
}

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || !state) return;
  const label = KEYS.indexOf(event.key.toLowerCase());
  const onButton = event.target instanceof HTMLButtonElement || event.target.tagName === "SUMMARY";
  if (label >= 0 && label < state.classes.length) give(label);
  else if (event.key === "ArrowLeft") go(row - 1);
  else if (event.key === "ArrowRight") go(row + 1);
  else if (event.key === "Backspace") give(-1);
  else if (event.key === " " && !onButton) unlabelled();
  else return;
  event.preventDefault();
});
at("back").addEventListener("click", () => go(row - 1));
at("next").addEventListener("click", () => go(row + 1));
at("unlabelled").addEventListener("click", unlabelled);
at("clear").addEventListener("click", () => give(-1));

state = await (await fetch("state")).json();
row = Math.max(state.labels.findIndex((label) => label < 0), 0);
show();
