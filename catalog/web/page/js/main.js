// The page: who reads it, which view is open, as of when. Views are made once and shown again.

import { Coverage } from "./coverage.js";
import { el, fill } from "./dom.js";
import { Evidence } from "./evidence.js";
import { Point } from "./point.js";
import { problemBox } from "./panel.js";
import { Search, searchBox } from "./search.js";
import { identity, meet, may, signIn } from "./session.js";
import { Sql } from "./sql.js";
import { at, link, onChange, takeToken } from "./state.js";
import { Status } from "./status.js";
import { Tasks } from "./tasks.js";
import { asOfControl, themeSwitch } from "./topbar.js";
import { keep, onForgotten } from "./token.js";

const VIEWS = {
  coverage: ["Coverage", Coverage, "read"],
  point: ["Restore point", Point, "read"],
  tasks: ["Tasks", Tasks, "read"],
  sql: ["SQL", Sql, "sql"],
  evidence: ["Evidence", Evidence, "read"],
  search: [null, Search, "read"],
};
const ALIASES = { machine: "search" };

class Page {
  #made = new Map();
  #shown = null;
  #main = el("main", { id: "main", tabIndex: -1 });
  #nav = el("nav", { "aria-label": "Views" });
  #search = searchBox();
  #asOf = asOfControl();
  #status = new Status({ onMoved: () => !at("as_of") && this.show(), onBack: () => this.show() });

  constructor(root) {
    fill(
      root,
      el(
        "a",
        {
          class: "skip",
          href: "#main",
          onclick: (event) => {
            event.preventDefault();
            this.#main.focus();
          },
        },
        "Skip to the content",
      ),
      el(
        "header",
        { class: "top" },
        el("a", { class: "brand", href: link({}) }, "Holdfast"),
        this.#search.form,
        this.#asOf.element,
        el("div", { class: "side" }, identity(), themeSwitch()),
      ),
      this.#status.element,
      this.#nav,
      this.#main,
    );
    this.#search.input.value = at("q");
    addEventListener("keydown", (event) => {
      if (event.key !== "/" || event.target.matches?.("input, textarea, select")) return;
      event.preventDefault();
      this.#search.input.focus();
    });
  }

  start() {
    this.#status.start();
    return this.show();
  }

  stop() {
    this.#status.stop();
    this.#shown?.leave?.();
  }

  moved(before) {
    if ((before.as_of ?? "") !== at("as_of")) this.#status.poll();
    return this.show();
  }

  show() {
    const asked = ALIASES[at("view")] ?? at("view");
    const key = VIEWS[asked] && may(VIEWS[asked][2]) ? asked : "coverage";
    this.#links(key);
    this.#asOf.show();
    if (!this.#made.has(key)) this.#made.set(key, new VIEWS[key][1]());
    const view = this.#made.get(key);
    if (view !== this.#shown) {
      this.#shown?.leave?.();
      this.#shown = view;
      fill(this.#main, view.element);
    }
    document.title = `${VIEWS[key][0] ?? "Search"} \u2013 Holdfast`;
    return view.show();
  }

  #links(current) {
    const shown = Object.entries(VIEWS).filter(([, [label, , permission]]) => label && may(permission));
    fill(
      this.#nav,
      shown.map(([key, [label]]) =>
        el(
          "a",
          {
            href: key === "point" && at("point") ? link({ view: key, point: at("point") }) : link({ view: key }),
            "aria-current": key === current ? "page" : null,
          },
          label,
        ),
      ),
    );
  }
}

const root = document.getElementById("page");
let page = null;

function askToSignIn(problem) {
  page?.stop();
  page = null;
  if (root.querySelector(".sign-in")) return; // what is typed there stays; the form tells of its own attempts
  fill(root, signIn(problem, open));
}

function open() {
  page?.stop();
  page = new Page(root);
  return page.start();
}

async function begin() {
  const brought = takeToken();
  if (brought) keep(brought);
  try {
    await meet();
    await open();
  } catch (error) {
    if (error.status === 401) return;
    if (error.status === undefined) throw error;
    fill(root, problemBox(error, begin));
  }
}

onForgotten(askToSignIn);
onChange((before) => {
  const brought = takeToken();
  if (brought) {
    keep(brought);
    begin();
  } else page?.moved(before);
});
begin();
