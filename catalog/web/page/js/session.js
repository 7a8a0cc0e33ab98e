// Who the reader is: signs in by a token, and says what its role may do.

import { ask } from "./api.js";
import { el, field, fill, name } from "./dom.js";
import { problemBox } from "./panel.js";
import { forget, keep, token } from "./token.js";

let who = null;

/** Whether the reader's role grants a permission. */
export const may = (permission) => who?.permissions?.includes(permission) ?? false;

/** Ask the server who this is; raises Problem. */
export async function meet() {
  who = (await ask("/v1/whoami")).data;
  return who;
}

/** The reader's name and role, and the way out. */
export function identity() {
  const machines = who.machines ? `, machines ${who.machines.join(", ")}` : "";
  return el(
    "span",
    { class: "who" },
    name(who.name),
    ` (${who.role}${machines})`,
    " ",
    token() && el("button", { type: "button", class: "quiet", onclick: () => forget() }, "Sign out"),
  );
}

/** The form to sign in with; calls `onDone` when the token is good. */
export function signIn(problem, onDone) {
  const input = el("input", {
    type: "password",
    name: "token",
    autocomplete: "off",
    spellcheck: "false",
    required: true,
    id: "token-input",
  });
  const trouble = el("div", {});
  const submit = el("button", { class: "primary" }, "Sign in");
  if (problem) fill(trouble, problemBox(problem));
  const form = el(
    "form",
    { class: "sign-in", onsubmit: attempt },
    el("h1", {}, "Holdfast"),
    el(
      "p",
      {},
      "Sign in with a token. An admin makes one with ",
      el("code", {}, "holdfast token create --role auditor"),
      ".",
    ),
    field("Token", input),
    submit,
    trouble,
  );

  async function attempt(event) {
    event.preventDefault();
    submit.disabled = true;
    keep(input.value);
    try {
      await meet();
      onDone();
    } catch (error) {
      fill(trouble, problemBox(error));
      input.select();
    }
    submit.disabled = false;
  }
  requestAnimationFrame(() => input.focus());
  return form;
}
