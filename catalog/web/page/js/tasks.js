// Tasks: what runs and waits now, with live progress, and what ended in the last day, the longest first.

import { all, target } from "./api.js";
import { el, time } from "./dom.js";
import { Panel, cli, curl } from "./panel.js";
import { isOpen, live, statusBadge } from "./progress.js";
import { may } from "./session.js";
import { link } from "./state.js";
import { table } from "./table.js";
import { lasting, shortId } from "./text.js";

const DAY = 86400000;
const MOST_LIVE = 3;
const AGAIN = 10000;
const CANCELS = { backup: "backup", synthetic: "backup", restore: "restore", verification: "verify" };

const duration = (task) => (Date.parse(task.ended_at) - Date.parse(task.started_at ?? task.requested_at)) / 1000;

const columns = [
  ["Task", (task) => task.kind],
  ["Outcome", statusBadge],
  ["Took", (task) => lasting(duration(task)), { number: true }],
  ["Ended", (task) => time(task.ended_at)],
  ["Asked for by", (task) => task.requested_by],
  ["Worker", (task) => task.worker ?? "none"],
  [
    "What came of it",
    (task) =>
      task.failure
        ? `${task.failure.why} (${task.failure.code})`
        : [
            task.detail,
            " ",
            (task.restore_points ?? [])
              .slice(0, 5)
              .map((id) => [el("a", { href: link({ view: "point", point: id }) }, shortId(id)), " "]),
          ],
  ],
];

export class Tasks {
  #running = new Panel("running", "Running and waiting");
  #ended = new Panel("ended", "Ended in the last 24 hours");
  #stop = new AbortController();
  #timer = null;
  #open = "";

  constructor() {
    this.element = el("div", {}, this.#running.element, this.#ended.element);
  }

  leave() {
    this.#stop.abort();
    this.#open = "";
    clearTimeout(this.#timer);
  }

  async show() {
    clearTimeout(this.#timer);
    let found = { items: [] };
    const good = await this.#running.load(
      async () => {
        found = await all("/v1/tasks", {}, { most: 500, live: true });
        this.#running.stamp(found);
        this.#running.ways({ cli: cli("tasks"), curl: curl({ path: target("/v1/tasks", {}, { live: true }) }) });
        return this.#draw(found.items.filter(isOpen));
      },
      { again: () => this.show() },
    );
    this.#ended.element.hidden = !good;
    if (good) await this.#ended.load(async () => this.#past(found));
    if (!this.#stop.signal.aborted) this.#timer = setTimeout(() => this.show(), AGAIN);
  }

  /** Tasks that are shown already go on as they are. */
  #draw(open) {
    const print = open.map((task) => task.task_id).join();
    if (print && print === this.#open) return undefined;
    this.#stop.abort();
    this.#stop = new AbortController();
    this.#open = print;
    if (!open.length) return el("p", { class: "empty" }, "Nothing runs, and nothing waits.");
    return el(
      "ul",
      { class: "tasks" },
      open.map((task, index) =>
        el(
          "li",
          {},
          live(task, {
            signal: this.#stop.signal,
            watch: index < MOST_LIVE,
            mayCancel: may(CANCELS[task.kind]),
            onEnd: () => setTimeout(() => this.show(), 1000),
          }),
        ),
      ),
    );
  }

  #past(found) {
    this.#ended.stamp(found);
    this.#ended.ways({ cli: cli("tasks"), curl: curl({ path: target("/v1/tasks", {}, { live: true }) }) });
    const recent = found.items.filter((task) => task.ended_at && Date.now() - Date.parse(task.ended_at) < DAY);
    recent.sort((one, other) => duration(other) - duration(one));
    return table(columns, recent, { caption: "Tasks of the last day", empty: "No task ended in the last 24 hours." });
  }
}
