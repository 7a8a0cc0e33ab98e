// The reference of the views: what one row is, and what each column means.

import { button, el } from "./dom.js";
import { table } from "./table.js";

const columns = [
  ["Column", (column) => el("code", {}, column.name)],
  ["Meaning", (column) => column.description],
];

/** All views; `onTake` puts a first query over one into the editor. */
export function reference(views, onTake) {
  return views.map((view) =>
    el(
      "details",
      { class: "view" },
      el("summary", {}, el("code", {}, view.name), " ", view.description),
      table(columns, view.columns, { caption: `Columns of ${view.name}` }),
      button(`Query ${view.name}`, () => onTake(view.name), { class: "quiet" }),
    ),
  );
}
