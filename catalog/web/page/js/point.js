// A restore point: what it is, its disks and where their blocks come from, how it was verified, what may be done
// with it, and the events that made it.

import { all, ask, target } from "./api.js";
import { actions } from "./actions.js";
import { verdict } from "./coverage.js";
import { el, facts, fill, name, time } from "./dom.js";
import { disks, leftOut } from "./disks.js";
import { history, verifications } from "./history.js";
import { Panel, cli, curl } from "./panel.js";
import { may } from "./session.js";
import { at, link } from "./state.js";
import { bytes, many, shortId, when } from "./text.js";

function tombstone(deleted) {
  if (!deleted) return null;
  return el(
    "div",
    { class: "tombstone" },
    el("strong", {}, "This restore point was deleted."),
    facts([
      ["By", name(deleted.actor)],
      ["Rule", name(deleted.rule)],
      ["Reason", name(deleted.reason)],
      ["When", `${when(deleted.recorded_at)}, event ${deleted.position}`],
      [
        "Kept",
        deleted.kept_for
          ? `its blocks, since ${many(deleted.kept_for, "later restore point")} build on them`
          : "nothing builds on it",
      ],
    ]),
  );
}

function summary(point) {
  return facts(
    [
      ["State", verdict(point)],
      [
        "Machine",
        el(
          "a",
          { href: link({ view: "machine", machine: point.machine_id }) },
          name(`${point.source}/${point.machine}`),
        ),
      ],
      ["Recorded", time(point.recorded_at)],
      point.taken_at && ["Taken, says the source", time(point.taken_at)],
      [
        "Origin",
        point.origin === "synthetic" ? "synthetic: resolved from earlier points, no data moved" : point.origin,
      ],
      ["Result", point.result],
      ["Consistency", point.consistency],
      ["Size", bytes(point.size_bytes)],
      ["Changed", bytes(point.changed_bytes)],
      ["Stored", bytes(point.stored_bytes)],
      ["Identifier", el("code", {}, point.restore_point_id)],
    ].filter(Boolean),
  );
}

export class Point {
  #panel = new Panel("point", "Restore point");
  #disks = new Panel("disks", "Disks", { level: 3 });
  #verified = new Panel("verified", "Verifications", { level: 3 });
  #actions = new Panel("actions", "Actions", { level: 3 });
  #events = new Panel("events", "Events", {
    level: 3,
    about: "What was recorded of this restore point, its run and its verifications. Each event can be proven.",
  });
  #shown = "";

  constructor() {
    this.element = el(
      "div",
      { class: "point" },
      this.#panel.element,
      this.#disks.element,
      this.#actions.element,
      this.#verified.element,
      this.#events.element,
    );
  }

  async show() {
    const id = at("point");
    for (const part of [this.#disks, this.#verified, this.#actions, this.#events]) part.element.hidden = !id;
    if (!id) {
      fill(
        this.#panel.body,
        el("p", { class: "empty" }, "Choose a restore point: in the coverage grid, or by searching."),
      );
      return;
    }
    const fresh = this.#shown !== id;
    this.#shown = id;
    const path = `/v1/restore-points/${encodeURIComponent(id)}`;
    let point = null;
    const good = await this.#panel.load(
      async () => {
        const answer = await ask(target(path));
        point = answer.data;
        fill(
          this.#panel.title,
          "Restore point ",
          el("code", {}, shortId(point.restore_point_id)),
          " of ",
          name(point.machine),
        );
        this.#panel.stamp(answer);
        this.#panel.ways({ cli: cli("show", shortId(point.restore_point_id)), curl: curl({ path: target(path) }) });
        return [tombstone(point.deleted), summary(point)];
      },
      { again: () => this.show() },
    );
    for (const part of [this.#disks, this.#verified, this.#actions, this.#events]) part.element.hidden = !good;
    if (!good || !point) return;
    const exact = `/v1/restore-points/${point.restore_point_id}`;
    await Promise.all([
      this.#showDisks(point, exact),
      this.#showEvents(point, exact),
      fresh && this.#showActions(point),
    ]);
  }

  #showDisks(point, path) {
    return this.#disks.load(async () => {
      const [found, sources, spared] = await Promise.all([
        all(`${path}/disks`, {}),
        all(`${path}/provenance`, {}),
        leftOut(point, path),
      ]);
      this.#disks.stamp(found);
      this.#disks.ways({
        cli: cli("show", shortId(point.restore_point_id)),
        curl: curl({ path: target(`${path}/provenance`) }),
      });
      return disks(point, found.items, sources.items, spared);
    });
  }

  async #showEvents(point, path) {
    this.#events.element.hidden = !may("events");
    if (!may("events")) {
      await this.#verified.load(async () => verifications(point, []));
      return;
    }
    let found = { items: [] };
    await this.#events.load(async () => {
      found = await all(`${path}/events`, {}, { most: 500 });
      this.#events.stamp(found);
      this.#events.ways({
        cli: cli("events", "--machine", `${point.source}/${point.machine}`),
        curl: curl({ path: target(`${path}/events`) }),
      });
      return history(found.items, found.more);
    });
    await this.#verified.load(async () => {
      this.#verified.stamp(found);
      this.#verified.ways({
        cli: cli("verify", shortId(point.restore_point_id)),
        curl: curl({ path: target(`${path}/events`) }),
      });
      return verifications(point, found.items);
    });
  }

  #showActions(point) {
    return this.#actions.load(async () => {
      const { items, ...answer } = await all(`/v1/restore-points/${point.restore_point_id}/disks`, {});
      this.#actions.stamp(answer);
      const offered = actions(point, items, (ways) => this.#actions.ways(ways));
      this.#actions.element.hidden = !offered;
      return offered;
    });
  }
}
