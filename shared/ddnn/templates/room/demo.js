// Switches of a fleet on this machine: what may be done with each tier now, as the server says it.
import { admin, ask } from "./stream.js";
import { make } from "./draw.js";

export function switches(state) {
  for (const [key, [name, actions]] of Object.entries(state.switches ?? {})) {
    const card = document.getElementById(`tier-${key}`);
    if (!card) continue;
    let row = card.querySelector(".switches");
    if (!row) card.append(row = make("div", { class: "switches" }));
    if (row.dataset.shown === actions.join()) continue;
    row.dataset.shown = actions.join();
    const focused = row.contains(document.activeElement);
    row.replaceChildren(...actions.map((what) => make("button", {
      type: "button", "data-do": what, "aria-label": `${what} ${what.includes("link") ? "above " : ""}${name}`,
      onclick: (clicked) => act(name, what, clicked.currentTarget),
    }, what)));
    if (focused) row.firstChild?.focus();
  }
}

async function act(name, what, button) {
  button.disabled = true;
  try {
    await ask("POST", "room/switch", { body: JSON.stringify({ name, what }), secret: admin() });
  } catch (error) {
    button.disabled = false;
    document.getElementById("notices").prepend(make("p", { class: "notice bad" }, `${what} ${name}: ${error.message}`));
  }
}
