// The reader's token: for this tab only, never in the address, never in a command that is copied.

const KEY = "holdfast.token";
const listeners = new Set();
let kept = readKept();

function readKept() {
  try {
    return sessionStorage.getItem(KEY) ?? "";
  } catch {
    return "";
  }
}

export const token = () => kept;

export function keep(secret) {
  kept = secret.trim();
  try {
    sessionStorage.setItem(KEY, kept);
  } catch {
    // Storage can be forbidden; the token then lasts until the page is left.
  }
}

/** Drop the token, and tell who asked to know; `problem` is why, null when the reader signed out. */
export function forget(problem = null) {
  kept = "";
  try {
    sessionStorage.removeItem(KEY);
  } catch {
    // As above.
  }
  for (const listener of listeners) listener(problem);
}

export const onForgotten = (listener) => listeners.add(listener);
