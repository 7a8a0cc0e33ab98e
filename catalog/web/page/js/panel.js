// The frame of every panel: a heading, the position it is of, its answer as a command to copy, and its errors.

import { button, el, fill, pre } from "./dom.js";
import { clock, count, shellWord } from "./text.js";

/** What went wrong, with what to do about it. */
export function problemBox(problem, again) {
  return el(
    "div",
    { class: "problem", role: "alert" },
    el("strong", {}, problem.title || "This did not work"),
    problem.detail && el("p", {}, problem.detail),
    problem.hint && el("p", { class: "hint" }, problem.hint),
    problem.errors?.length > 0 &&
      el(
        "ul",
        {},
        problem.errors.map((one) => el("li", {}, `${one.pointer ?? ""} ${one.message ?? one.detail ?? ""}`)),
      ),
    problem.code && el("code", {}, problem.code),
    again && button("Try again", again),
  );
}

/** The request as a curl command; the token is named, never written. */
export function curl({ path, method = "GET", body, accept }) {
  const parts = ["curl -sS"];
  if (method !== "GET") parts.push(`-X ${method}`);
  parts.push('-H "Authorization: Bearer $HOLDFAST_TOKEN"');
  if (accept) parts.push(`-H ${shellWord(`Accept: ${accept}`)}`);
  if (method === "POST") parts.push(`-H ${shellWord("Content-Type: application/json")}`);
  if (body !== undefined) parts.push(`-d ${shellWord(JSON.stringify(body))}`);
  parts.push(shellWord(new URL(path, location.origin).href));
  return parts.join(" ");
}

/** A command line of ours: `holdfast` and its words. */
export const cli = (...words) =>
  `holdfast ${words
    .filter((word) => word !== "")
    .map(shellWord)
    .join(" ")}`;

async function copy(text, note) {
  try {
    await navigator.clipboard.writeText(text);
    note.textContent = "Copied.";
  } catch {
    note.textContent = "Select it to copy: this browser lets the page copy only over HTTPS or on this machine.";
  }
}

export class Panel {
  #stamp = el("span", { class: "stamp" });
  #tools = el("div", { class: "tools" });
  #shelf = el("div", { class: "shelf", hidden: true });
  #shownWay = "";

  /** `level` is that of its heading. */
  constructor(id, title, { level = 2, about } = {}) {
    this.id = id;
    this.title = el(`h${level}`, { id: `${id}-title` }, title);
    this.body = el("div", { class: "body" });
    this.element = el(
      "section",
      { class: "panel", id, "aria-labelledby": `${id}-title` },
      el("header", {}, this.title, this.#stamp, this.#tools),
      about && el("p", { class: "about" }, about),
      this.#shelf,
      this.body,
    );
  }

  /** Say of which position an answer is, and when that was. */
  stamp({ position, lag, time }) {
    if (position === null || position === undefined) return;
    const behind = lag > 0 ? `, log ${count(lag)} ahead` : "";
    this.#stamp.dataset.position = position;
    fill(this.#stamp, `as of event ${count(position)}${time ? `, ${clock(time)}` : ""}${behind}`);
  }

  /** Offer what is shown as commands: `ways` is {cli, curl}, both text. */
  ways(ways) {
    const buttons = Object.entries(ways)
      .filter(([, text]) => text)
      .map(([kind, text]) =>
        button(kind, () => this.#show(kind, text), {
          class: "quiet",
          "aria-expanded": "false",
          "aria-label": `Copy as ${kind === "cli" ? "command line" : kind}`,
          data: { way: kind },
        }),
      );
    fill(this.#tools, buttons);
    this.#shelf.hidden = true;
    this.#shownWay = "";
  }

  #show(kind, text) {
    const open = this.#shownWay !== kind;
    this.#shownWay = open ? kind : "";
    for (const one of this.#tools.children)
      one.setAttribute("aria-expanded", String(open && one.dataset.way === kind));
    this.#shelf.hidden = !open;
    if (!open) return;
    const note = el("span", { role: "status" });
    fill(this.#shelf, pre(text, { "aria-label": `The same as a ${kind} command` }), note);
    copy(text, note);
  }

  busy(on) {
    this.element.setAttribute("aria-busy", String(on));
  }

  /** Fill from a promise; what went wrong is shown in the panel. Returns whether it worked. */
  async load(work, { again } = {}) {
    const turn = (this.turn = (this.turn ?? 0) + 1);
    this.busy(true);
    try {
      const content = await work();
      if (turn === this.turn && content !== undefined) fill(this.body, content);
      return true;
    } catch (error) {
      if (error.name === "AbortError") return false;
      if (turn === this.turn) fill(this.body, problemBox(error, again ?? (() => this.load(work))));
      if (error.status === undefined) throw error;
      return false;
    } finally {
      if (turn === this.turn) this.busy(false);
    }
  }
}
