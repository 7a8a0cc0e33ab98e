// What was recorded of a restore point: its verifications, and the raw events, each with its proof.

import { badge, el, facts, pre, time } from "./dom.js";
import { prover } from "./proof.js";
import { may } from "./session.js";
import { table } from "./table.js";
import { bytes, count, many } from "./text.js";

function bodyOf(event) {
  try {
    return typeof event.body === "string" ? JSON.parse(event.body) : (event.body ?? {});
  } catch {
    return {};
  }
}

const columns = [
  ["When", (row) => time(row.recorded_at)],
  ["Result", (row) => (row.result === "ok" ? badge("verified", "ok") : badge("damaged", row.result))],
  ["Level", (row) => row.level],
  ["Chunks", (row) => count(row.chunks), { number: true }],
  ["Bytes", (row) => bytes(row.checked_bytes), { number: true }],
  [
    "Problems",
    (row) =>
      row.problems?.length
        ? el(
            "ul",
            {},
            row.problems.slice(0, 20).map((one) => el("li", {}, one)),
          )
        : "none",
  ],
];

/** Every time it was read back; without the right to see events, the last time only. */
export function verifications(point, events) {
  const found = events
    .filter((event) => event.topic.startsWith("RestorePointVerified/"))
    .map((event) => ({ ...bodyOf(event), recorded_at: event.recorded_at }));
  if (found.length || may("events")) {
    return table(columns, found.reverse(), { caption: "Verifications", empty: "It was never read back." });
  }
  if (!point.verified_at) return el("p", { class: "empty" }, "It was never read back.");
  return [
    facts([
      ["When", time(point.verified_at)],
      ["Level", point.verified_level],
      ["Result", point.verified_result],
    ]),
    el("p", { class: "hint" }, "The last one. Your role does not see the events of the earlier ones."),
  ];
}

function raw(event) {
  const text =
    typeof event.body === "string" ? JSON.stringify(bodyOf(event), null, 2) : JSON.stringify(event.body, null, 2);
  const { run, place } = prover(event.position);
  return el(
    "li",
    { class: "event" },
    el(
      "div",
      { class: "line" },
      el("span", { class: "position" }, `#${count(event.position)}`),
      el("strong", {}, event.topic.split("/")[0]),
      el("span", { class: "stamp" }, time(event.recorded_at)),
      event.rows ? el("span", { class: "stamp" }, many(event.rows, "row")) : null,
      may("prove") || may("events") ? run : null,
    ),
    el("details", {}, el("summary", {}, "Body"), pre(text)),
    place,
  );
}

/** The raw events, in the order in which they were recorded. */
export function history(events, more) {
  if (!events.length) return el("p", { class: "empty" }, "No events.");
  const ordered = [...events].sort((one, other) => one.position - other.position);
  return [
    el("ol", { class: "events" }, ordered.map(raw)),
    more && el("p", { class: "hint" }, `The first ${many(events.length, "event")} are shown.`),
  ];
}
