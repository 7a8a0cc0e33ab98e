// SQL: an editor, ten saved questions, the limits that hold, the answer as a table, and as a file in four forms.

import { ask, download } from "./api.js";
import { button, el, field, fill, option } from "./dom.js";
import { Panel, cli, curl, problemBox } from "./panel.js";
import { reference } from "./sqlhelp.js";
import { at, go } from "./state.js";
import { pagedTable } from "./table.js";
import { bytes, count, many } from "./text.js";

const ROWS_SHOWN = 1000;
const FORMS = {
  CSV: ["text/csv", "csv"],
  JSON: ["application/json", "json"],
  Parquet: ["application/vnd.apache.parquet", "parquet"],
  Arrow: ["application/vnd.apache.arrow.stream", "arrows"],
};
const FIRST = "SELECT source, name, recorded_at FROM machines ORDER BY name";

const cell = (value) => {
  if (value === null) return el("span", { class: "null" }, "NULL");
  if (typeof value === "object") return JSON.stringify(value);
  return String(value);
};

/** The page's as-of goes into the body. */
function bodyOf(query, more = {}) {
  const asOf = at("as_of");
  return { query, ...(asOf ? { as_of: /^\d+$/.test(asOf) ? Number(asOf) : asOf } : {}), ...more };
}

export class Sql {
  #panel = new Panel("sql", "SQL");
  #answer = new Panel("answer", "Answer", { level: 3 });
  #help = new Panel("views", "Views and columns", { level: 3 });
  #query = el("textarea", {
    id: "query",
    rows: 8,
    spellcheck: "false",
    autocomplete: "off",
    autocapitalize: "off",
    value: FIRST,
    "aria-keyshortcuts": "Control+Enter",
    maxlength: 100000,
  });
  #saved = el("select", { id: "saved", onchange: () => this.#pick() });
  #why = el("p", { class: "about" });
  #limits = el("p", { class: "hint" });
  #run = button("Run", () => this.#ask(), { class: "primary" });
  #stop = button("Stop", () => this.#abort?.abort(), { disabled: true });
  #exports = el("div", { class: "exports", role: "group", "aria-label": "Save the whole answer as" });
  #abort = null;
  #questions = null;

  constructor() {
    fill(
      this.#exports,
      "Save as ",
      Object.keys(FORMS).map((form) =>
        button(form, (event) => this.#export(form, event.currentTarget), { class: "quiet" }),
      ),
    );
    this.#panel.body.append(
      field("Saved questions", this.#saved),
      this.#why,
      field("Query", this.#query, { class: "field wide" }),
      el("div", { class: "buttons" }, this.#run, this.#stop, this.#exports),
      this.#limits,
    );
    this.#query.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) this.#ask();
    });
    this.#query.addEventListener("input", () => this.#ways());
    this.#answer.element.hidden = true;
    this.element = el("div", {}, this.#panel.element, this.#answer.element, this.#help.element);
  }

  async show() {
    if (at("query") && at("query") !== this.#query.value) this.#query.value = at("query");
    this.#ways();
    if (this.#questions) return;
    await this.#help.load(async () => {
      const [questions, views] = await Promise.all([ask("/v1/sql/questions"), ask("/v1/sql/views")]);
      this.#questions = questions.data.items;
      fill(
        this.#saved,
        option("", "Choose one\u2026", ""),
        this.#questions.map((one, index) => option(index, one.title)),
      );
      this.#help.stamp(views);
      this.#help.ways({ cli: cli("sql", "SELECT * FROM duckdb_columns()"), curl: curl({ path: "/v1/sql/views" }) });
      this.#say(views.data.limits ?? questions.data.limits);
      return reference(views.data.items, (name) => this.#take(`SELECT * FROM ${name} LIMIT 100`));
    });
  }

  #say(limits) {
    const parts = limits
      ? [
          `at most ${limits.seconds} s`,
          `${bytes(limits.memory_bytes)} of memory`,
          `${count(limits.row_limit ?? limits.rows)} rows`,
          `${bytes(limits.byte_limit ?? limits.bytes)}`,
        ]
      : [];
    fill(
      this.#limits,
      `Read-only, over what you may see. ${parts.length ? `Limits: ${parts.join(", ")}. ` : ""}`,
      `The first ${count(ROWS_SHOWN)} rows are shown; a saved file has them all. Ctrl+Enter runs.`,
    );
  }

  #pick() {
    const found = this.#questions[Number(this.#saved.value)];
    if (!found || this.#saved.value === "") return;
    fill(this.#why, found.description ?? "");
    this.#take(found.query ?? found.sql);
  }

  #take(query) {
    this.#query.value = query;
    this.#ways();
    this.#query.focus();
  }

  #ways() {
    const query = this.#query.value;
    this.#panel.ways({
      cli: cli("sql", query),
      curl: curl({ path: "/v1/sql", method: "POST", body: bodyOf(query), accept: "text/csv" }),
    });
  }

  async #ask() {
    const query = this.#query.value.trim();
    if (!query) return;
    this.#abort?.abort();
    const mine = (this.#abort = new AbortController());
    go({ query }, { quiet: true });
    this.#answer.element.hidden = false;
    this.#stop.disabled = false;
    const begun = performance.now();
    fill(this.#answer.body, el("p", { role: "status" }, "Asking\u2026"));
    await this.#answer.load(
      async () => {
        const body = bodyOf(query, { row_limit: ROWS_SHOWN });
        const answer = await ask("/v1/sql", { method: "POST", body, signal: mine.signal });
        this.#answer.stamp(answer);
        return this.#show(answer.data, (performance.now() - begun) / 1000);
      },
      { again: () => this.#ask() },
    );
    if (mine.signal.aborted) fill(this.#answer.body, el("p", {}, "Stopped."));
    if (this.#abort === mine) this.#stop.disabled = true;
  }

  #show({ columns, rows, truncated }, seconds) {
    const number = (name) =>
      rows.length > 0 && rows.every((row) => row[name] === null || typeof row[name] === "number");
    const cut = truncated || rows.length === ROWS_SHOWN;
    return [
      el(
        "p",
        { role: "status" },
        `${many(rows.length, "row")}${cut ? ", cut there" : ""}, in ${seconds.toFixed(2)} s.`,
      ),
      pagedTable(
        columns.map((name) => [name, (row) => cell(row[name]), { number: number(name) }]),
        rows,
        { caption: "Answer", empty: "No rows." },
      ),
    ];
  }

  async #export(form, from) {
    const [accept, suffix] = FORMS[form];
    from.disabled = true;
    try {
      const body = bodyOf(this.#query.value.trim());
      const { size } = await download("/v1/sql", { method: "POST", body, accept }, `holdfast-answer.${suffix}`);
      fill(this.#why, `Saved ${bytes(size)} as ${form}.`);
    } catch (error) {
      this.#answer.element.hidden = false;
      fill(this.#answer.body, problemBox(error));
    }
    from.disabled = false;
  }
}
