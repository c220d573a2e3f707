// Server-sent events over fetch: it can carry a token in a header, which `EventSource` cannot. Nothing is kept beyond
// the session of this tab.
const KEY = "ddnn-token", ADMIN = "ddnn-admin";

export function take_from_address() {
  const given = new URLSearchParams(location.hash.slice(1));
  if (given.has("token")) {
    sessionStorage.setItem(ADMIN, given.get("token"));
    history.replaceState(null, "", location.pathname + location.search);
  }
}
export const token = () => sessionStorage.getItem(KEY) ?? sessionStorage.getItem(ADMIN) ?? "";
export const set_token = (value) => sessionStorage.setItem(KEY, value);
export const admin = () => sessionStorage.getItem(ADMIN) ?? "";
export const set_admin = (value) => sessionStorage.setItem(ADMIN, value);

export function headers(secret = token()) {
  return secret ? { authorization: `Bearer ${secret}` } : {};
}

export async function ask(method, path, { body, secret, more } = {}) {
  let response;
  try {
    response = await fetch(path, { method, body, headers: { ...headers(secret), ...more }, cache: "no-store" });
  } catch {
    throw new Error("the server of this page does not answer");
  }
  const text = await response.text();
  let document = null;
  try { document = text ? JSON.parse(text) : null; } catch { /* no JSON: an error of whatever is between */ }
  if (!response.ok) throw Object.assign(new Error(document?.error ?? `${response.status}`), { status: response.status });
  return { document, etag: response.headers.get("etag") };
}

// A page that is not seen lets go of its connection, of which a browser has six a server, and looks anew when it is.
let looking = new AbortController();
const seen = () => new Promise((done) => document.visibilityState === "visible" ? done() : document.addEventListener("visibilitychange", done, { once: true }));
document.addEventListener("visibilitychange", () => { if (document.visibilityState === "hidden") looking.abort(); });
window.addEventListener("pagehide", () => looking.abort());
window.addEventListener("pageshow", (shown) => { if (shown.persisted) location.reload(); });

// Calls `on[kind](document)` for each message, for ever; `state(text, refused)` hears how the connection is.
export async function follow(path, on, state) {
  for (let rest = 500; ; rest = Math.min(rest * 1.6, 4000)) {
    await seen();
    looking = new AbortController();
    try {
      const response = await fetch(path, { headers: headers(), cache: "no-store", signal: looking.signal });
      if (response.status === 401 || response.status === 403) { state("refused", true); return; }
      if (!response.ok) throw new Error(`${response.status}`);
      state("live");
      rest = 500;
      await read(response.body.getReader(), on);
    } catch { /* told below */ }
    if (looking.signal.aborted) continue;
    state("lost");
    await new Promise((done) => setTimeout(done, rest));
  }
}

async function read(reader, on) {
  const decoder = new TextDecoder();
  for (let text = ""; ;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += decoder.decode(value, { stream: true }).replaceAll("\r\n", "\n");
    for (let end; (end = text.indexOf("\n\n")) >= 0; text = text.slice(end + 2)) {
      let kind = "", data = "";
      for (const line of text.slice(0, end).split("\n")) {
        if (line.startsWith("event:")) kind = line.slice(6).trim();
        if (line.startsWith("data:")) data += line.slice(5).trim();
      }
      if (on[kind]) on[kind](JSON.parse(data));
    }
  }
}
