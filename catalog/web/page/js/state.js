// Where the reader is: kept in the address's fragment, so that a link shows the same. Never holds a token.

const listeners = new Set();
let current = read();

function read() {
  const fragment = new URLSearchParams(location.hash.slice(1));
  fragment.delete("token");
  return Object.fromEntries(fragment);
}

const text = (state) => {
  const kept = Object.entries(state).filter(([, value]) => value !== null && value !== undefined && value !== "");
  return `#${new URLSearchParams(kept)}`;
};

/** The token that the address brought, if any; it is taken out of the address at once. */
export function takeToken() {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (token !== null) history.replaceState(null, "", location.pathname + location.search + text(read()));
  return token;
}

export const at = (key) => current[key] ?? "";

/** The address of the page with some keys changed; the as-of position goes along. */
export const link = (changes) => text({ ...(current.as_of ? { as_of: current.as_of } : {}), ...changes });

/** Change keys in place; `quiet` leaves no entry in the history. */
export function go(changes, { quiet = false } = {}) {
  const next = text({ ...current, ...changes });
  if (next === text(current)) return;
  if (quiet) history.replaceState(null, "", next);
  else history.pushState(null, "", next);
  changed();
}

/** Go to another view: only what is named and the as-of position stays. */
export function visit(changes) {
  history.pushState(null, "", link(changes));
  changed();
}

export const onChange = (listener) => listeners.add(listener);

function changed() {
  const before = current;
  current = read();
  const brought = new URLSearchParams(location.hash.slice(1)).has("token");
  if (brought || text(before) !== text(current)) for (const listener of listeners) listener(before);
}

addEventListener("popstate", changed);
addEventListener("hashchange", changed);
