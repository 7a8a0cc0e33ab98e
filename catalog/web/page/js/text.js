// Text for people and for shells. Names come from hypervisors and guests: what would move, hide or reorder other
// text is spelled out instead of shown.

const HIDDEN = new RegExp(
  "[" +
    "\\u0000-\\u001f\\u007f-\\u009f" + // controls, ESC among them
    "\\u061c\\u200e\\u200f\\u202a-\\u202e\\u2066-\\u2069" + // reorder text
    "\\u00ad\\u034f\\u115f\\u1160\\u17b4\\u17b5\\u180b-\\u180f\\u200b-\\u200d\\u2060-\\u2065\\u206a-\\u206f" + // unseen
    "\\u2028\\u2029\\u3164\\ufe00-\\ufe0f\\ufeff\\uffa0\\ufff0-\\ufffb\\u{e0000}-\\u{e0fff}" + // unseen, too
    "\\ud800-\\udfff]", // halves of pairs
  "gu",
);
const LINES = /[\n\t]/;

const spelled = (character) =>
  `\u27e8U+${character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}\u27e9`;

/** `text` with every control, bidi and invisible character spelled out as its code point. */
export const shown = (text) => String(text).replace(HIDDEN, spelled);

/** As `shown`, but line breaks and tabs stay: for text in a <pre>. */
export const shownLines = (text) => String(text).replace(HIDDEN, (c) => (LINES.test(c) ? c : spelled(c)));

/** At most `most` characters of `text`. */
export const short = (text, most = 80) => {
  const points = Array.from(String(text));
  return points.length > most ? `${points.slice(0, most).join("")}\u2026` : points.join("");
};

export const shortId = (id) => String(id).replaceAll("-", "").slice(0, 12);

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

export function bytes(value) {
  if (value === null || value === undefined) return "\u2013";
  let amount = Number(value);
  let unit = 0;
  while (amount >= 1024 && unit < UNITS.length - 1) {
    amount /= 1024;
    unit += 1;
  }
  return `${unit && amount < 100 ? amount.toFixed(1) : Math.round(amount)} ${UNITS[unit]}`;
}

export const count = (value) =>
  value === null || value === undefined ? "\u2013" : Number(value).toLocaleString("en");

export const many = (value, one, several = `${one}s`) => `${count(value)} ${Number(value) === 1 ? one : several}`;

/** A time as the catalog keeps it: UTC, to the second. */
export const when = (time) => (time ? `${new Date(time).toISOString().slice(0, 19).replace("T", " ")}Z` : "\u2013");

export const clock = (time) => `${new Date(time).toISOString().slice(11, 19)}Z`;

export const dayOf = (time) => new Date(time).toISOString().slice(0, 10);

export function lasting(seconds) {
  const total = Math.max(0, Math.round(seconds));
  if (total < 60) return `${total} s`;
  if (total < 3600) return `${Math.floor(total / 60)} min`;
  if (total < 172800) return `${Math.floor(total / 3600)} h`;
  return `${Math.floor(total / 86400)} days`;
}

export const ago = (time) => (time ? `${lasting((Date.now() - Date.parse(time)) / 1000)} ago` : "never");

/** `text` as one word of a POSIX shell; what a terminal would act on when pasted is escaped. */
export function shellWord(text) {
  const word = String(text);
  if (/^[A-Za-z0-9_@%+=:,./-]+$/.test(word)) return word;
  if (word.search(HIDDEN) < 0) return `'${word.replaceAll("'", "'\\''")}'`;
  const escaped = word.replace(/[\\']/g, "\\$&").replace(HIDDEN, (c) => {
    const code = c.codePointAt(0);
    return code < 0x80 ? `\\x${code.toString(16).padStart(2, "0")}` : `\\U${code.toString(16).padStart(8, "0")}`;
  });
  return `$'${escaped}'`;
}
