// The coverage grid: one row a machine, one cell a day. A cell says its state by letter, shape and colour, and in
// words to screen readers. One cell is in the tab order; arrow keys move it (roving tabindex).

import { el, name } from "./dom.js";
import { shown } from "./text.js";

/** Each state: its letter, and its name in words. */
export const STATES = {
  verified: ["V", "Verified", "a restore point that day was read back whole"],
  present: ["P", "Present", "a complete restore point, not read back"],
  partial: ["\u00bd", "Partial", "a disk was left out of every restore point that day"],
  missing: ["\u2013", "Missing", "no restore point was recorded that day"],
  damaged: ["\u00d7", "Damaged", "a restore point did not read back right"],
  unseen: ["", "Not yet seen", "before the machine was first seen"],
  deleted: ["D", "Deleted", "what there was has been deleted since"],
};

/** From so many rows on, those out of sight are not laid out. */
const FEW = 40;

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

export const legend = () =>
  el(
    "ul",
    { class: "legend" },
    Object.entries(STATES).map(([state, [letter, label, meaning]]) =>
      el("li", { title: meaning }, el("span", { class: `cell is-${state}`, "aria-hidden": "true" }, letter), label),
    ),
  );

const sayDay = (day) => `${day.slice(8)} ${MONTHS[Number(day.slice(5, 7)) - 1]}`;

function head(days) {
  const cells = days.map((day, index) => {
    const first = index === 0 || day.endsWith("-01");
    const weekday = new Date(`${day}T00:00:00Z`).getUTCDay();
    return el(
      "div",
      { role: "columnheader", class: `day${weekday % 6 ? "" : " weekend"}`, "aria-label": sayDay(day) },
      first &&
        el(
          "span",
          { class: "month", "aria-hidden": "true" },
          `${MONTHS[Number(day.slice(5, 7)) - 1]} ${day.slice(0, 4)}`,
        ),
      el("span", { "aria-hidden": "true" }, day.slice(8)),
    );
  });
  return el(
    "div",
    { role: "row", class: "row head", "aria-rowindex": 1 },
    el("div", { role: "columnheader", class: "machine" }, "Machine"),
    cells,
  );
}

function cell(machine, entry, day) {
  if (entry?.state === "missing" && day < machine.first_seen_at.slice(0, 10)) entry = { state: "unseen" };
  const [letter, label] = STATES[entry?.state] ?? ["?", entry?.state ?? "Unknown"];
  const state = STATES[entry?.state] ? entry.state : "unknown";
  const points = entry?.points ? `, ${entry.points} point${entry.points === 1 ? "" : "s"}` : "";
  const made = document.createElement("div");
  made.className = `cell is-${state}`;
  made.setAttribute("role", "gridcell");
  made.setAttribute("aria-label", shown(`${machine.machine}, ${sayDay(day)}: ${label}${points}`));
  made.title = `${day}: ${label}${points}`;
  made.tabIndex = -1;
  made.textContent = letter;
  return made;
}

/** The grid; `onPick` gets the machine and the day that were chosen; `start` is the [row, column] to begin at. */
export function grid(machines, days, onPick, start) {
  const rows = machines.map((machine, index) => {
    const byDay = new Map(machine.days.map((entry) => [entry.day, entry]));
    return el(
      "div",
      { role: "row", class: "row", "aria-rowindex": index + 2 },
      el(
        "div",
        { role: "rowheader", class: "machine", title: `${machine.source}/${machine.machine}` },
        name(machine.machine),
        el("small", {}, name(machine.source)),
      ),
      days.map((day) => cell(machine, byDay.get(day), day)),
    );
  });
  const made = el(
    "div",
    {
      role: "grid",
      class: rows.length > FEW ? "coverage large" : "coverage",
      "aria-label": "Coverage, machines by days",
      "aria-rowcount": rows.length + 1,
      "aria-colcount": days.length + 1,
    },
    head(days),
    rows,
  );
  made.style.setProperty("--days", days.length);
  rove(made, rows, days.length, start, (row, column) => onPick(machines[row], days[column]));
  return made;
}

function rove(made, rows, columns, start, choose) {
  let [row, column] = start ?? [0, columns - 1];
  if (!rows[row] || column >= columns) [row, column] = [0, columns - 1];
  const at = (r, c) => rows[r]?.children[c + 1];
  const move = (r, c) => {
    at(row, column).tabIndex = -1;
    row = Math.max(0, Math.min(rows.length - 1, r));
    column = Math.max(0, Math.min(columns - 1, c));
    at(row, column).tabIndex = 0;
  };
  if (rows.length) at(row, column).tabIndex = 0;
  const steps = {
    ArrowUp: [-1, 0],
    ArrowDown: [1, 0],
    ArrowLeft: [0, -1],
    ArrowRight: [0, 1],
    PageUp: [-10, 0],
    PageDown: [10, 0],
    Home: [0, -columns],
    End: [0, columns],
  };
  made.addEventListener("keydown", (event) => {
    if (event.target.getAttribute("role") !== "gridcell") return;
    if (event.key === "Enter" || event.key === " ") choose(row, column);
    else if (steps[event.key] && event.ctrlKey && ["Home", "End"].includes(event.key))
      move(event.key === "Home" ? 0 : rows.length - 1, event.key === "Home" ? 0 : columns - 1);
    else if (steps[event.key]) move(row + steps[event.key][0], column + steps[event.key][1]);
    else return;
    event.preventDefault();
    at(row, column).focus();
  });
  made.addEventListener("click", (event) => {
    const picked = event.target.closest('[role="gridcell"]');
    if (!picked) return;
    move(rows.indexOf(picked.parentElement), [...picked.parentElement.children].indexOf(picked) - 1);
    picked.focus({ preventScroll: true });
    choose(row, column);
  });
}
