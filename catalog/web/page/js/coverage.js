// Coverage: the grid of a range of months, and the restore points of the day that was chosen in it.

import { all, target } from "./api.js";
import { badge, el, field, fill, name, option } from "./dom.js";
import { grid, legend } from "./grid.js";
import { Panel, cli, curl } from "./panel.js";
import { at, go, link } from "./state.js";
import { table } from "./table.js";
import { bytes, clock, many, shortId } from "./text.js";

const MONTHS_BACK = 36;
const SHOWN_AT_FIRST = 3;
const MOST_MONTHS = 12;
const MOST_MACHINES = 1000;

const coverageSql = ({ from, to }) =>
  `SELECT source, machine, day, state FROM coverage WHERE day BETWEEN DATE '${from}' AND DATE '${to}' ORDER BY ALL`;

const monthText = (date) => date.toISOString().slice(0, 7);

function monthsBack(number) {
  const now = new Date();
  return new Date(Date.UTC(now.getUTCFullYear(), now.getUTCMonth() - number, 1));
}

function daysOf(from, to) {
  const days = [];
  const today = new Date().toISOString().slice(0, 10);
  const end = new Date(`${to}-01T00:00:00Z`);
  end.setUTCMonth(end.getUTCMonth() + 1);
  for (const day = new Date(`${from}-01T00:00:00Z`); day < end; day.setUTCDate(day.getUTCDate() + 1)) {
    const text = day.toISOString().slice(0, 10);
    if (text > today) break;
    days.push(text);
  }
  return days;
}

/** The verdict on a restore point, as the grid says it. */
export function verdict(point) {
  if (point.deleted) return badge("deleted", "deleted");
  if (point.verified_result === "damaged") return badge("damaged", "damaged");
  if (point.result === "partial") return badge("partial", "partial");
  return point.verified_result === "ok" ? badge("verified", "verified") : badge("present", "present");
}

export const pointColumns = [
  [
    "Time",
    (point) => el("a", { href: link({ view: "point", point: point.restore_point_id }) }, clock(point.recorded_at)),
  ],
  ["State", verdict],
  ["Origin", (point) => point.origin],
  ["Consistency", (point) => point.consistency],
  ["Size", (point) => bytes(point.size_bytes), { number: true }],
  ["Changed", (point) => bytes(point.changed_bytes), { number: true }],
  ["Stored", (point) => bytes(point.stored_bytes), { number: true }],
  ["Restore point", (point) => el("code", {}, shortId(point.restore_point_id))],
];

export class Coverage {
  #panel = new Panel("coverage", "Coverage");
  #day = new Panel("day", "Restore points of a day");
  #from = el("select", { onchange: () => this.#range() });
  #to = el("select", { onchange: () => this.#range() });
  #holder = el("div", { class: "grid-holder" });
  #machines = new Map();
  #print = "";

  constructor() {
    const months = Array.from({ length: MONTHS_BACK }, (_, index) => monthText(monthsBack(index)));
    for (const select of [this.#from, this.#to])
      fill(
        select,
        months.map((month) => option(month, month)),
      );
    this.#panel.element.insertBefore(
      el("div", { class: "controls" }, field("From", this.#from), field("To", this.#to), legend()),
      this.#panel.body,
    );
    this.#panel.body.append(this.#holder);
    this.#day.element.hidden = true;
    this.element = el("div", {}, this.#panel.element, this.#day.element);
  }

  #range() {
    if (this.#from.value > this.#to.value) this.#to.value = this.#from.value;
    if (this.#from.selectedIndex - this.#to.selectedIndex >= MOST_MONTHS) {
      this.#to.selectedIndex = this.#from.selectedIndex - MOST_MONTHS + 1;
    }
    go({ from: this.#from.value, to: this.#to.value, machine: "", day: "" });
  }

  async show() {
    const to = at("to") || monthText(monthsBack(0));
    const from = at("from") || monthText(monthsBack(SHOWN_AT_FIRST - 1));
    this.#from.value = from;
    this.#to.value = to;
    const days = daysOf(from, to);
    const query = { from: days[0], to: days.at(-1) };
    await Promise.all([this.#panel.load(() => this.#load(query, days)), this.#showDay()]);
  }

  async #load(query, days) {
    const path = "/v1/coverage";
    const answer = await all(path, query, { most: MOST_MACHINES });
    const { items, more } = answer;
    this.#panel.stamp(answer);
    this.#panel.ways({ cli: cli("sql", coverageSql(query)), curl: curl({ path: target(path, query) }) });
    this.#machines = new Map(items.map((row) => [row.machine_id, row]));
    if (!items.length) return el("p", { class: "empty" }, "No machine was seen yet.");
    const note = more && el("p", { class: "hint" }, `The first ${many(items.length, "machine")} are shown.`);
    const print = JSON.stringify([query, items]);
    if (print === this.#print && this.#holder.isConnected) return undefined;
    this.#print = print;
    this.#draw(items, days);
    return [this.#holder, note];
  }

  /** Draw the grid anew; the place that the reader was at stays. */
  #draw(items, days) {
    const here = document.activeElement?.closest?.('[role="gridcell"]');
    const row = here && [...here.closest('[role="grid"]').children].indexOf(here.parentElement) - 1;
    const start = here && [row, [...here.parentElement.children].indexOf(here) - 1];
    const { scrollLeft, scrollTop } = this.#holder;
    const range = `${days[0]} ${days.at(-1)}`;
    const sameDays = this.#holder.dataset.range === range;
    this.#holder.dataset.range = range;
    fill(
      this.#holder,
      grid(items, days, (machine, day) => go({ machine: machine.machine_id, day }), start),
    );
    requestAnimationFrame(() => {
      this.#holder.scrollLeft = sameDays ? scrollLeft : this.#holder.scrollWidth;
      this.#holder.scrollTop = sameDays ? scrollTop : 0;
      if (here) this.#holder.querySelector('[tabindex="0"]')?.focus({ preventScroll: true });
    });
  }

  async #showDay() {
    const machine = at("machine");
    const day = at("day");
    this.#day.element.hidden = !(machine && day);
    if (this.#day.element.hidden) return;
    const next = new Date(Date.parse(`${day}T00:00:00Z`) + 86400000).toISOString();
    const query = { machine_id: machine, since: `${day}T00:00:00Z`, until: next.slice(0, 19) + "Z" };
    await this.#day.load(async () => {
      const answer = await all("/v1/restore-points", { ...query, include_deleted: "true" });
      const { items } = answer;
      const known = items[0]?.machine ?? this.#machines.get(machine)?.machine ?? machine;
      fill(this.#day.title, "Restore points of ", name(known), ` on ${day}`);
      this.#day.stamp(answer);
      this.#day.ways({ cli: cli("points", known), curl: curl({ path: target("/v1/restore-points", query) }) });
      return table(pointColumns, items, {
        caption: "Restore points of the day",
        empty: "No restore point was recorded on this day.",
      });
    });
  }
}
