// Tables: plain ones, and ones that show a page of many rows at a time.

import { button, el, fill } from "./dom.js";
import { count } from "./text.js";

/** `columns` are [heading, row => cell, {number}] triples; `caption` is for screen readers. */
export function table(columns, rows, { caption, empty = "Nothing here." } = {}) {
  if (!rows.length) return el("p", { class: "empty" }, empty);
  const side = (more) => (more?.number ? "number" : null);
  return el(
    "div",
    { class: "scroll", tabIndex: 0, role: "region", "aria-label": caption },
    el(
      "table",
      {},
      el(
        "thead",
        {},
        el(
          "tr",
          {},
          columns.map(([heading, , more]) => el("th", { scope: "col", class: side(more) }, heading)),
        ),
      ),
      el(
        "tbody",
        {},
        rows.map((row, index) =>
          el(
            "tr",
            {},
            columns.map(([, cell, more]) => el("td", { class: side(more) }, cell(row, index))),
          ),
        ),
      ),
    ),
  );
}

/** A table of `size` rows at a time, with the way to the others below it. */
export function pagedTable(columns, rows, { caption, size = 50, empty } = {}) {
  const holder = el("div", {});
  const place = el("span", { role: "status" });
  let first = 0;
  const show = (next) => {
    first = Math.max(0, Math.min(next, rows.length - 1));
    const last = Math.min(first + size, rows.length);
    fill(holder, table(columns, rows.slice(first, last), { caption, empty }));
    fill(place, `${count(first + 1)} to ${count(last)} of ${count(rows.length)}`);
    back.disabled = first === 0;
    on.disabled = last >= rows.length;
  };
  const back = button("Previous", () => show(first - size), { class: "quiet" });
  const on = button("Next", () => show(first + size), { class: "quiet" });
  show(0);
  return rows.length > size ? el("div", {}, holder, el("div", { class: "pager" }, back, place, on)) : holder;
}
