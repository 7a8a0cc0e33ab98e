// One box for all: a machine's name, the start of a restore point's or run's identifier, a digest, or a time.

import { all, ask, target } from "./api.js";
import { badge, el, field, fill, name, time } from "./dom.js";
import { Panel, cli, curl } from "./panel.js";
import { at, link, visit } from "./state.js";
import { pointColumns } from "./coverage.js";
import { table } from "./table.js";
import { count, dayOf, many, shortId, when } from "./text.js";

const DIGEST = /^[0-9a-f]{64}$/i;
const DAY = /^\d{4}-\d{2}-\d{2}/;
const KINDS = { machine: "Machine", restore_point: "Restore point", run: "Run", chunk: "Chunk" };

/** The box itself, for the top of the page. */
export function searchBox() {
  const input = el("input", {
    type: "search",
    id: "search-input",
    maxlength: 200,
    placeholder: "Machine, restore point, digest or time",
    autocomplete: "off",
    spellcheck: "false",
    "aria-keyshortcuts": "/",
  });
  const form = el(
    "form",
    {
      role: "search",
      onsubmit: (event) => {
        event.preventDefault();
        if (input.value.trim()) visit({ view: "search", q: input.value.trim() });
      },
    },
    field("Search", input),
    el("button", {}, "Find"),
  );
  return { form, input };
}

function hitRow(hit) {
  if (hit.kind === "restore_point") return el("a", { href: link({ view: "point", point: hit.id }) }, name(hit.title));
  if (hit.kind === "machine") return el("a", { href: link({ view: "machine", machine: hit.id }) }, name(hit.title));
  if (hit.kind === "chunk") return el("a", { href: link({ view: "search", q: hit.id }) }, name(hit.title));
  return name(hit.title);
}

const hitColumns = [
  ["Kind", (hit) => KINDS[hit.kind] ?? hit.kind],
  ["Found", hitRow],
  ["Identifier", (hit) => el("code", {}, hit.id.length > 40 ? `${hit.id.slice(0, 16)}\u2026` : shortId(hit.id))],
];

const referenceColumns = [
  ["Machine", (row) => name(`${row.source}/${row.machine}`)],
  ["Disk", (row) => name(row.label)],
  [
    "Restore point",
    (row) => el("a", { href: link({ view: "point", point: row.restore_point_id }) }, shortId(row.restore_point_id)),
  ],
  ["Recorded", (row) => time(row.recorded_at)],
  ["First block", (row) => count(row.first_block), { number: true }],
  ["Blocks", (row) => count(row.blocks), { number: true }],
  ["In points", (row) => count(row.points), { number: true }],
  ["Until", (row) => (row.until_recorded_at ? time(row.until_recorded_at) : badge("present", "still there"))],
];

const machinePoints = [["Day", (point) => dayOf(point.recorded_at)], ...pointColumns];

export class Search {
  #panel = new Panel("results", "Search");
  element = this.#panel.element;

  async show() {
    const text = at("view") === "machine" ? at("machine") : at("q");
    if (at("view") === "machine") return this.#panel.load(() => this.#machine(text));
    fill(this.#panel.title, "Search for ", name(text));
    if (DIGEST.test(text)) return this.#panel.load(() => this.#references(text.toLowerCase()));
    if (DAY.test(text) && !Number.isNaN(Date.parse(text))) return this.#panel.load(() => this.#points(text));
    return this.#panel.load(() => this.#hits(text));
  }

  async #hits(q) {
    const answer = await ask(target("/v1/search", { q }));
    const { data } = answer;
    this.#panel.stamp(answer);
    this.#panel.ways({ cli: cli("machines"), curl: curl({ path: target("/v1/search", { q }) }) });
    return table(hitColumns, data.items, {
      caption: "What was found",
      empty:
        "Nothing is called so: a part of a machine's name, the start of a restore point's or run's identifier, " +
        "a digest of 64 hex digits, or a time such as 2026-09-30 or 2026-09-30T14:00Z is understood.",
    });
  }

  /** Which restore points hold a chunk: how far the damage of it reaches. */
  async #references(digest) {
    const path = `/v1/chunks/${digest}/references`;
    const answer = await all(path, { inherited: "true" });
    const { items, more } = answer;
    this.#panel.stamp(answer);
    this.#panel.ways({
      cli: cli("sql", `SELECT * FROM chunk_refs WHERE digest = unhex('${digest}') ORDER BY ALL`),
      curl: curl({ path: target(path, { inherited: "true" }) }),
    });
    const machines = new Set(items.map((row) => row.machine_id)).size;
    return [
      el(
        "p",
        {},
        items.length
          ? `This chunk is in ${many(items.length, "range")} of blocks, of ${many(machines, "machine")}${
              more ? " and more" : ""
            }. If it is damaged, these restore points are.`
          : "No restore point that you may know of holds this chunk.",
      ),
      table(referenceColumns, items, { caption: "References to the chunk", empty: "" }),
    ];
  }

  /** The restore points up to a time: where to go back to. */
  async #points(time) {
    const until = time.length === 10 ? `${time}T23:59:59.999999Z` : new Date(time).toISOString();
    const query = { until, limit: 100 };
    const answer = await ask(target("/v1/restore-points", query));
    const { data } = answer;
    this.#panel.stamp(answer);
    this.#panel.ways({ cli: cli("points"), curl: curl({ path: target("/v1/restore-points", query) }) });
    return [
      el("p", {}, `The newest restore points up to ${when(until)}:`),
      table([["Machine", (row) => name(row.machine)], ...machinePoints], data.items, { caption: "Restore points" }),
    ];
  }

  async #machine(id) {
    const query = { machine_id: id, include_deleted: "true" };
    const [machine, points, disks] = await Promise.all([
      ask(target(`/v1/machines/${id}`)),
      all("/v1/restore-points", query, { most: 400 }),
      all(`/v1/machines/${id}/disks`, {}),
    ]);
    fill(this.#panel.title, "Machine ", name(machine.data.name));
    this.#panel.stamp(machine);
    const named = `${machine.data.source}/${machine.data.name}`;
    this.#panel.ways({ cli: cli("points", named), curl: curl({ path: target("/v1/restore-points", query) }) });
    const excluded = disks.items.filter((disk) => disk.present && disk.excluded_reason);
    return [
      el(
        "p",
        {},
        `Seen at ${when(machine.data.recorded_at)} with ${many(machine.data.disks, "disk")}; ${many(
          machine.data.restore_points,
          "restore point",
        )} kept, the newest at ${when(machine.data.last_point_at)}.`,
      ),
      excluded.length > 0 &&
        el(
          "ul",
          {},
          excluded.map((disk) =>
            el(
              "li",
              {},
              badge("partial", "not protected"),
              " ",
              name(disk.label),
              ": ",
              disk.excluded_reason,
              ". ",
              disk.way_out,
            ),
          ),
        ),
      table(machinePoints, points.items, { caption: "Restore points", empty: "It has no restore point yet." }),
      points.more && el("p", { class: "hint" }, "Older ones are left off."),
    ];
  }
}
