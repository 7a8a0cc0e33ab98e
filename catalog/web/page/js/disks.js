// The disks of a restore point: level and its cause, the chain they are made of, and the bar that shows which point
// supplies which share of a disk. The bar's text is the table below it.

import { all } from "./api.js";
import { badge, el, facts, name, time } from "./dom.js";
import { link } from "./state.js";
import { table } from "./table.js";
import { bytes, count, many, shortId } from "./text.js";

const SHADES = 6;
const MOST_IN_BAR = 40;

const percent = (share) => (share > 0 && share < 0.001 ? "< 0.1 %" : `${(share * 100).toFixed(1)} %`);

/** Disks that the point does not hold, with their reason and way out. */
export async function leftOut(point, path) {
  return point.left_out ? (await all(`${path}/left-out`, {})).items : [];
}

function spared(rows) {
  if (!rows.length) return null;
  return el(
    "div",
    { class: "left-out" },
    el("strong", {}, `${many(rows.length, "disk is", "disks are")} not in it`),
    el(
      "ul",
      {},
      rows.map((row) =>
        el(
          "li",
          {},
          badge("partial", "left out"),
          " ",
          name(row.label),
          row.reason ? [": ", row.reason] : null,
          row.way_out && el("div", { class: "hint" }, "Way out: ", row.way_out),
        ),
      ),
    ),
  );
}

function bar(rows) {
  const parts = rows.slice(0, MOST_IN_BAR).map((row, index) => {
    const part = el(
      "span",
      { class: `share shade-${index % SHADES}`, title: `Point ${row.seq}: ${percent(row.share)}` },
      row.share >= 0.08 ? `#${row.seq}` : "",
    );
    part.style.flexGrow = Math.max(row.share, 0.004);
    return part;
  });
  const text = rows
    .map((row) => `point ${row.seq} supplies ${percent(row.share)}`)
    .slice(0, 20)
    .join(", ");
  return el("div", { class: "bar", role: "img", "aria-label": `Where the blocks come from: ${text}` }, parts);
}

const shareColumns = [
  [
    "Point",
    (row, index) =>
      el("span", {}, el("span", { class: `swatch shade-${index % SHADES}`, "aria-hidden": "true" }), `#${row.seq}`),
  ],
  [
    "Restore point",
    (row) => el("a", { href: link({ view: "point", point: row.restore_point_id }) }, shortId(row.restore_point_id)),
  ],
  ["Recorded", (row) => time(row.recorded_at)],
  ["Blocks", (row) => count(row.blocks), { number: true }],
  ["Bytes", (row) => bytes(row.bytes), { number: true }],
  ["Share", (row) => percent(row.share), { number: true }],
];

function provenance(disk, rows) {
  if (!rows.length) return el("p", { class: "empty" }, "This disk holds no data: every block reads as zeros.");
  const ordered = [...rows].sort((one, other) => other.share - one.share);
  return el(
    "div",
    { class: "provenance" },
    el("h5", {}, "Where its blocks come from"),
    bar(ordered),
    el(
      "details",
      { open: rows.length <= 4 },
      el("summary", {}, `${many(rows.length, "restore point supplies", "restore points supply")} its data`),
      table(shareColumns, ordered, { caption: `Where the blocks of ${disk.label} come from` }),
    ),
  );
}

function chain(disk) {
  const points = disk.chain ?? [];
  const shown = points.length > 12 ? [...points.slice(0, 3), null, ...points.slice(-6)] : points;
  return el(
    "ol",
    { class: "chain", "aria-label": "Chain, the full first" },
    shown.map((id, index) =>
      el(
        "li",
        {},
        id === null
          ? "\u2026"
          : el(
              "a",
              { href: link({ view: "point", point: id }) },
              `${index === 0 ? "full " : ""}${shortId(id).slice(0, 8)}`,
            ),
      ),
    ),
  );
}

function one(disk, rows) {
  return el(
    "article",
    { class: "disk" },
    el("h4", {}, name(disk.label), " ", badge(disk.level === "full" ? "present" : "plain", disk.level)),
    facts([
      ["Cause", el("code", {}, disk.cause)],
      ["Size", bytes(disk.size_bytes)],
      ["Changed", bytes(disk.changed_bytes)],
      ["Read", bytes(disk.read_bytes)],
      ["New chunks", count(disk.new_chunks)],
      ["Stored", bytes(disk.stored_bytes)],
      ["Chain", many(disk.chain_points, "point")],
    ]),
    chain(disk),
    provenance(disk, rows),
  );
}

/** All disks, and the ones that were left out. */
export function disks(point, found, sources, missing) {
  return [
    spared(missing),
    found.map((disk) =>
      one(
        disk,
        sources.filter((row) => row.disk_id === disk.disk_id),
      ),
    ),
  ];
}
