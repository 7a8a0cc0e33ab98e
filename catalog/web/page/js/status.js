// The strip on top: where the index is, what is wrong, and what waits. Asked every few seconds; it also finds out
// that the server went away or came back, and that there is something new to show.

import { Problem, ask, send, target } from "./api.js";
import { el, fill } from "./dom.js";
import { Panel, cli, curl } from "./panel.js";
import { link } from "./state.js";
import { ago, bytes, clock, count, many, shortId } from "./text.js";

const EVERY = 30000;
const WHEN_AWAY = 2000;
const ALIVE = 4000;
/** Questions are events too, so that some lag is there whenever somebody asks. */
const LAG_TO_WORRY = 100;

const item = (term, value, kind, note) =>
  el(
    "div",
    { class: `item${kind ? ` is-${kind}` : ""}` },
    el("dt", {}, term),
    el("dd", {}, value),
    note && el("dd", { class: "note" }, note),
  );

function ledger(status) {
  const { published_at: published, size, places } = status.ledger;
  const failing = places.filter((place) => place.failing);
  const since = published ? `${many(status.ledger.log_size - size, "event")} since` : "";
  return item(
    "Ledger",
    published ? `signed ${ago(published)}` : "nothing signed yet",
    failing.length ? "bad" : published ? "" : "warn",
    failing.length ? `not kept at ${failing.map((place) => place.name).join(", ")}` : since,
  );
}

function unverified(status) {
  const oldest = status.oldest_unverified;
  if (!oldest) return item("Oldest unverified", "none", "good");
  return item(
    "Oldest unverified",
    el("a", { href: link({ view: "point", point: oldest.restore_point_id }) }, ago(oldest.recorded_at)),
    "",
    shortId(oldest.restore_point_id),
  );
}

function sources(status) {
  const failing = status.failing_sources;
  if (!failing.length) return item("Sources", "none failing", "good");
  return item(
    "Sources",
    many(failing.length, "source failing", "sources failing"),
    "bad",
    failing.map((one) => one.source).join(", "),
  );
}

function late(status) {
  const { late: first, late_machines: more, never_backed_up: never } = status;
  if (!more && !never) return null;
  const names = first
    .slice(0, 3)
    .map((one) => one.name)
    .join(", ");
  return item(
    "Late",
    many(more, "machine"),
    "warn",
    `${names}${more > 3 ? ", \u2026" : ""}${never ? `; ${never} never backed up` : ""}`,
  );
}

function work(status) {
  const { tasks } = status;
  if (!tasks) return null;
  return item(
    "Tasks",
    el("a", { href: link({ view: "tasks" }) }, `${count(tasks.running)} running`),
    tasks.waiting && !tasks.running ? "warn" : "",
    tasks.waiting ? `${count(tasks.waiting)} waiting for a worker` : "none waiting",
  );
}

export class Status {
  #panel = new Panel("status", "Status");
  #list = el("dl", { class: "strip" });
  #away = el("div", { class: "away", role: "alert", hidden: true });
  #timer = null;
  #substance = null;
  #asked = 0;

  /** `onMoved` hears that there is something new to show, `onBack` of the server's return. */
  constructor({ onMoved, onBack }) {
    this.onMoved = onMoved;
    this.onBack = onBack;
    this.#panel.body.append(this.#away, this.#list);
    this.element = this.#panel.element;
    document.addEventListener("visibilitychange", () => !document.hidden && this.#timer && this.#look());
  }

  start() {
    this.stop();
    return this.poll();
  }

  stop() {
    clearTimeout(this.#timer);
    this.#timer = null;
  }

  /** Ask now, and again later. Each question is an event of the log itself, so that they are not many. */
  async poll() {
    clearTimeout(this.#timer);
    try {
      this.#show(await ask(target("/v1/status")));
      this.#asked = Date.now();
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      if (error.status === 401) return;
      this.#gone(error);
    }
    this.#wait();
  }

  #wait() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#look(), this.#away.hidden ? ALIVE : WHEN_AWAY);
  }

  /** Whether the server is there can be asked without leaving a trace. */
  async #look() {
    const due = !document.hidden && Date.now() - this.#asked > EVERY;
    if (!this.#away.hidden || due) return this.poll();
    if (!document.hidden) await send("/healthz", { accept: "*/*" }).catch((error) => this.#gone(error));
    this.#wait();
    return undefined;
  }

  #gone(error) {
    this.#away.hidden = false;
    fill(
      this.#away,
      el("strong", {}, error.title || "The server does not answer"),
      ". ",
      error.detail,
      " ",
      error.hint,
      " ",
      el("code", {}, error.code),
    );
  }

  #show(answer) {
    const { data, position, lag, time } = answer;
    const { index, trouble } = data;
    const back = !this.#away.hidden;
    this.#away.hidden = true;
    this.#panel.stamp(answer);
    this.#panel.ways({ cli: cli("doctor"), curl: curl({ path: target("/v1/status") }) });
    fill(
      this.#list,
      item(
        "Index",
        `event ${count(position)}`,
        trouble ? "bad" : lag > LAG_TO_WORRY ? "warn" : "good",
        [trouble ? trouble.why : lag ? `${many(lag, "event")} behind the log` : "up to the log", time && clock(time)]
          .filter(Boolean)
          .join(", "),
      ),
      item(
        "Kept",
        many(index.machines, "machine"),
        "",
        `${many(index.restore_points, "restore point")}, ${bytes(index.stored_bytes)}`,
      ),
      unverified(index),
      ledger(data),
      sources(index),
      late(index),
      work(data),
    );
    const { restore_points, verified_points, damaged_points, deleted_points, machines } = index;
    const substance = [restore_points, verified_points, damaged_points, deleted_points, machines].join();
    const moved = this.#substance !== null && substance !== this.#substance;
    this.#substance = substance;
    if (back) this.onBack();
    else if (moved) this.onMoved();
  }
}
