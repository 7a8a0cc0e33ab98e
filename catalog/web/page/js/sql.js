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
    maxlength: 65536,
  });
  #saved = el("select", { id: "saved", onchange: () => this.#pick() });
  #why = el("p", { class: "about" });
  #rows = el("input", { type: "number", min: 1, max: 10000000, value: 100000, required: true });
  #seconds = el("input", { type: "number", min: 1, max: 300, value: 30, required: true });
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
      el(
        "div",
        { class: "buttons limits" },
        field("Seconds at most", this.#seconds),
        field("Rows at most in a file", this.#rows),
        el("p", { class: "hint" }, `Read-only, over what you may see. ${count(ROWS_SHOWN)} rows are shown here.`),
      ),
    );
    for (const limit of [this.#rows, this.#seconds]) limit.addEventListener("input", () => this.#ways());
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
      this.#panel.stamp(views);
      this.#help.ways({ cli: cli("sql", "SELECT * FROM duckdb_columns()"), curl: curl({ path: "/v1/sql/views" }) });
      return reference(views.data.items, (name) => this.#take(`SELECT * FROM ${name} LIMIT 100`));
    });
  }

  #pick() {
    const found = this.#questions[Number(this.#saved.value)];
    if (!found || this.#saved.value === "") return;
    fill(this.#why, found.why);
    this.#take(found.query);
  }

  #take(query) {
    this.#query.value = query;
    this.#ways();
    this.#query.focus();
  }

  /** The request for the answer; the page's as-of goes into it. */
  #body(query, rows) {
    const asOf = at("as_of");
    const limits = { row_limit: rows ?? (Number(this.#rows.value) || 1), seconds: Number(this.#seconds.value) || 1 };
    return { query, ...(asOf ? { as_of: /^\d+$/.test(asOf) ? Number(asOf) : asOf } : {}), ...limits };
  }

  #ways() {
    const query = this.#query.value;
    const ways = {
      cli: cli("sql", query),
      curl: curl({ path: "/v1/sql", method: "POST", body: this.#body(query), accept: "text/csv" }),
    };
    this.#panel.ways(ways);
    this.#answer.ways(ways);
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
        const body = this.#body(query, ROWS_SHOWN);
        const answer = await ask("/v1/sql", { method: "POST", body, signal: mine.signal });
        this.#answer.stamp(answer);
        return this.#show(answer, (performance.now() - begun) / 1000);
      },
      { again: () => this.#ask() },
    );
    if (mine.signal.aborted) fill(this.#answer.body, el("p", {}, "Stopped."));
    if (this.#abort === mine) this.#stop.disabled = true;
  }

  #show({ data: { columns, rows }, response }, seconds) {
    const number = (name) =>
      rows.length > 0 && rows.every((row) => row[name] === null || typeof row[name] === "number");
    const cut = response.headers.get("Catalog-Truncated") === "true";
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
      const body = this.#body(this.#query.value.trim());
      const { size } = await download("/v1/sql", { method: "POST", body, accept }, `holdfast-answer.${suffix}`);
      fill(this.#why, `Saved ${bytes(size)} as ${form}.`);
    } catch (error) {
      this.#answer.element.hidden = false;
      fill(this.#answer.body, problemBox(error));
    }
    from.disabled = false;
  }
}
