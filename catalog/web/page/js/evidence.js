// Evidence: whether a machine was backed up often enough, and a file that proves it to somebody without the catalog.

import { all, ask, download, target } from "./api.js";
import { badge, button, el, field, fill, name, option, time } from "./dom.js";
import { Panel, cli, curl, problemBox } from "./panel.js";
import { may } from "./session.js";
import { at, go } from "./state.js";
import { table } from "./table.js";
import { bytes, lasting, many } from "./text.js";

const DAY = 86400000;
const RPOS = [
  ["24", "24 hours"],
  ["12", "12 hours"],
  ["26", "26 hours"],
  ["48", "2 days"],
  ["168", "7 days"],
];

const day = (time) => new Date(time).toISOString().slice(0, 10);

const gapColumns = [
  ["From", (gap) => time(gap.start)],
  ["To", (gap) => time(gap.end)],
  ["Without a covering point", (gap) => lasting((Date.parse(gap.end) - Date.parse(gap.start)) / 1000)],
];

function verdict(report) {
  const spared = report.left_out ?? [];
  return [
    el(
      "p",
      { class: "verdict" },
      report.covered ? badge("verified", "covered") : badge("damaged", many(report.gaps.length, "gap")),
      " ",
      name(`${report.source}/${report.machine}`),
      `: ${many(report.points, "restore point")}, ${report.verified_points} verified, `,
      `${report.damaged_points} damaged, ${report.deleted_points} deleted since.`,
    ),
    report.gaps.length > 0 && table(gapColumns, report.gaps, { caption: "Gaps" }),
    spared.length > 0 &&
      el(
        "ul",
        {},
        spared.map((disk) =>
          el(
            "li",
            {},
            badge("partial", "left out"),
            " ",
            name(disk.label),
            ` of ${many(disk.points, "restore point")}`,
          ),
        ),
      ),
  ];
}

export class Evidence {
  #panel = new Panel("evidence", "Evidence", {
    about:
      "One file that proves what the catalog recorded of a machine, gaps included. " +
      "It is checked offline, with the public key alone.",
  });
  #machine = el("select", { id: "evidence-machine" });
  #from = el("input", { type: "date", required: true });
  #to = el("input", { type: "date", required: true });
  #rpo = el(
    "select",
    {},
    RPOS.map(([value, label]) => option(value, label)),
  );
  #accept = el("input", { maxlength: 500, placeholder: "labels, separated by commas", autocomplete: "off" });
  #result = el("div", { class: "result" });
  #save = button("Download evidence", () => this.#download(), { class: "primary" });
  #names = new Map();

  constructor() {
    this.element = this.#panel.element;
    const form = el(
      "form",
      {
        class: "evidence",
        onsubmit: (event) => {
          event.preventDefault();
          this.#look();
        },
        oninput: () => this.#ways(),
      },
      field("Machine", this.#machine),
      field("From", this.#from),
      field("To, this day included", this.#to),
      field("A restore point at least every", this.#rpo),
      field("Disks that may be left out", this.#accept),
      el("div", { class: "buttons" }, el("button", {}, "Check coverage"), this.#save),
    );
    this.#panel.body.append(form, this.#result);
    this.#from.value = day(Date.now() - 90 * DAY);
    this.#to.value = day(Date.now());
  }

  async show() {
    this.#save.hidden = !may("prove");
    if (at("from_day")) this.#from.value = at("from_day");
    if (at("to_day")) this.#to.value = at("to_day");
    if (at("rpo") && RPOS.some(([hours]) => hours === at("rpo"))) this.#rpo.value = at("rpo");
    try {
      const { items, ...answer } = await all("/v1/machines", {});
      this.#panel.stamp(answer);
      this.#names = new Map(items.map((one) => [one.machine_id, `${one.source}/${one.name}`]));
      const before = at("machine") || this.#machine.value;
      fill(
        this.#machine,
        items.map((one) => option(one.machine_id, `${one.source}/${one.name}`, before)),
      );
    } catch (error) {
      fill(
        this.#result,
        problemBox(error, () => this.show()),
      );
    }
    this.#ways();
  }

  /** What is asked for. A period that goes on ends now: what is still to come is no gap. */
  #asked() {
    const today = day(Date.now());
    const end = Date.parse(`${this.#to.value || today}T00:00:00Z`) + DAY;
    const accepted = this.#accept.value.split(",").map((label) => label.trim());
    return {
      machine: this.#machine.value,
      from: `${this.#from.value || today}T00:00:00Z`,
      to: `${new Date(Math.min(end, Date.now())).toISOString().slice(0, 19)}Z`,
      hours: Number(this.#rpo.value),
      accepted: accepted.filter(Boolean),
    };
  }

  #coveragePath() {
    const { machine, from, to, hours, accepted } = this.#asked();
    const query = new URLSearchParams({ from, to, rpo: `${hours}h` });
    for (const label of accepted) query.append("accept_left_out", label);
    if (at("as_of")) query.append("as_of", at("as_of"));
    return `/v1/machines/${machine}/coverage?${query}`;
  }

  #proofBody() {
    const { machine, from, to, hours, accepted } = this.#asked();
    return { machine_id: machine, from, to, rpo_seconds: hours * 3600, accept_left_out: accepted };
  }

  #ways() {
    const named = this.#names.get(this.#machine.value) ?? "MACHINE";
    const { hours } = this.#asked();
    this.#panel.ways({
      cli: cli(
        "prove",
        "coverage",
        "--machine",
        named,
        "--from",
        this.#from.value,
        "--to",
        this.#to.value,
        "--rpo",
        `${hours}h`,
        "-o",
        "evidence.bundle",
      ),
      curl: curl({ path: "/v1/proofs/coverage", method: "POST", body: this.#proofBody() }),
    });
  }

  async #look() {
    go(
      { machine: this.#machine.value, from_day: this.#from.value, to_day: this.#to.value, rpo: this.#rpo.value },
      { quiet: true },
    );
    try {
      const answer = await ask(this.#coveragePath());
      this.#panel.stamp(answer);
      fill(this.#result, verdict(answer.data));
    } catch (error) {
      fill(
        this.#result,
        problemBox(error, () => this.#look()),
      );
    }
  }

  async #download() {
    this.#save.disabled = true;
    const named = (this.#names.get(this.#machine.value) ?? "machine").replace(/[^A-Za-z0-9._-]+/g, "-").slice(0, 80);
    const file = `holdfast-${named}-${this.#from.value}-${this.#to.value}.bundle`;
    try {
      const { size } = await download(
        "/v1/proofs/coverage",
        { method: "POST", body: this.#proofBody(), accept: "*/*" },
        file,
      );
      fill(
        this.#result,
        el(
          "p",
          { role: "status" },
          `Saved ${bytes(size)} as `,
          el("code", {}, file),
          ". Check it with ",
          el("code", {}, cli("prove", "check", file, "--key", "KEY")),
          ", anywhere, with the public key alone.",
        ),
      );
    } catch (error) {
      fill(this.#result, problemBox(error));
    }
    this.#save.disabled = false;
  }
}
