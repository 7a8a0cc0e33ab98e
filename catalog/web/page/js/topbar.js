// The controls of the top bar: as of when the page is, and its colours.

import { button, el, field, fill } from "./dom.js";
import { at, go } from "./state.js";

const TIME = /^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:\d{2})?)?$/;

/** What was typed as the API wants it: a position, or a time with its offset; null when it is neither. */
export function readAsOf(text) {
  const plain = text
    .trim()
    .replaceAll(",", "")
    .replace(/^(event )?#?/i, "");
  if (plain === "" || /^\d{1,15}$/.test(plain)) return plain;
  if (!TIME.test(plain) || Number.isNaN(Date.parse(plain.replace(" ", "T")))) return null;
  if (plain.length === 10) return `${plain}T23:59:59Z`;
  const time = plain.replace(" ", "T");
  return /(Z|[+-]\d{2}:\d{2})$/.test(time) ? time : `${time}Z`;
}

/** The control that puts the whole page at a position or a time. */
export function asOfControl() {
  const input = el("input", {
    id: "as-of",
    placeholder: "now",
    maxlength: 40,
    autocomplete: "off",
    spellcheck: "false",
    title: "An event's number, or a time such as 2026-09-30 or 2026-09-30T14:00:00Z (UTC)",
  });
  const now = button("Now", () => go({ as_of: "" }), { class: "quiet" });
  const note = el("span", { class: "note", role: "status" });
  const form = el(
    "form",
    {
      class: "as-of",
      onsubmit: (event) => {
        event.preventDefault();
        const wanted = readAsOf(input.value);
        input.setAttribute("aria-invalid", String(wanted === null));
        fill(note, wanted === null ? "An event's number, or a time such as 2026-09-30T14:00Z" : "");
        if (wanted !== null) go({ as_of: wanted });
      },
    },
    field("As of", input),
    el("button", { class: "quiet" }, "Set"),
    now,
    note,
  );
  const show = () => {
    input.value = at("as_of");
    form.classList.toggle("pinned", Boolean(at("as_of")));
    now.hidden = !at("as_of");
  };
  return { element: form, show };
}

/** Light, dark, or as the system has it. */
export function themeSwitch() {
  const root = document.documentElement;
  const next = { "": "dark", dark: "light", light: "" };
  const label = () =>
    ({ "": "Colours: system", dark: "Colours: dark", light: "Colours: light" })[root.dataset.theme ?? ""];
  const made = button(
    label(),
    () => {
      const wanted = next[root.dataset.theme ?? ""];
      if (wanted) root.dataset.theme = wanted;
      else delete root.dataset.theme;
      try {
        localStorage.setItem("holdfast.theme", wanted);
      } catch {
        // Storage can be forbidden; the choice then lasts until the page is left.
      }
      fill(made, label());
    },
    { class: "quiet" },
  );
  return made;
}
