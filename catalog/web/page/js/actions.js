// What may be done with a restore point, as requests: each becomes a task that a worker does. Nothing happens twice
// when a button is pressed twice or an answer is lost: the same form is the same request until it is changed.

import { ask, newKey } from "./api.js";
import { el, field, fill, option } from "./dom.js";
import { cli, curl, problemBox } from "./panel.js";
import { live } from "./progress.js";
import { may } from "./session.js";
import { shortId } from "./text.js";

const select = (values) =>
  el(
    "select",
    {},
    values.map(([value, label]) => option(value, label)),
  );

/** One request: a form, and the task that comes of it. `read` gives the body and the command line. */
function request(label, path, controls, read, onWays) {
  let key = newKey();
  const place = el("div", { class: "outcome" });
  const submit = el("button", { class: "primary" }, label);
  const ways = () => {
    const { body, words } = read();
    return { cli: cli(...words), curl: curl({ path, method: "POST", body }) };
  };
  const form = el(
    "form",
    {
      class: "request",
      oninput: () => {
        key = newKey();
        onWays(ways());
      },
      onfocusin: () => onWays(ways()),
      onsubmit: async (event) => {
        event.preventDefault();
        submit.disabled = true;
        try {
          const { data } = await ask(path, { method: "POST", body: read().body, key });
          fill(place, live(data, { mayCancel: true }));
          key = newKey();
        } catch (error) {
          fill(place, problemBox(error));
        }
        submit.disabled = false;
      },
    },
    controls,
    submit,
  );
  return { element: el("div", {}, form, place), ways };
}

function verify(point, onWays) {
  const level = select([
    ["content", "content (decrypt and hash)"],
    ["stored", "stored (bytes in packs)"],
  ]);
  return request(
    "Verify",
    "/v1/verifications",
    field("Level", level),
    () => ({
      body: { restore_point_id: point.restore_point_id, level: level.value },
      words: ["verify", shortId(point.restore_point_id), "--level", level.value],
    }),
    onWays,
  );
}

function restore(point, disks, onWays) {
  const disk = select([...disks.map((one) => [one.disk_id, one.label]), ["", "all disks"]]);
  const format = select(["qcow2", "raw", "vmdk", "vhdx"].map((one) => [one, one]));
  const to = el("input", {
    required: true,
    maxlength: 200,
    placeholder: "name below the worker's restore folder",
    autocomplete: "off",
  });
  return request(
    "Restore",
    "/v1/restores",
    [field("Disk", disk), field("Format", format), field("To", to)],
    () => ({
      body: {
        restore_point_id: point.restore_point_id,
        disk_id: disk.value || null,
        format: format.value,
        to: to.value,
      },
      words: [
        ...["restore", shortId(point.restore_point_id), "--to", to.value || "PATH", "--format", format.value],
        ...(disk.value ? ["--disk", disks.find((one) => one.disk_id === disk.value).label] : []),
      ],
    }),
    onWays,
  );
}

function backup(point, onWays) {
  const full = el("input", { type: "checkbox" });
  return request(
    "Back up now",
    "/v1/backups",
    el("label", { class: "check" }, full, " read everything (full)"),
    () => ({
      body: { source: point.source, machine_id: point.machine_id, full: full.checked },
      words: ["backup", `${point.source}/${point.machine}`, full.checked ? "--full" : ""],
    }),
    onWays,
  );
}

function synthetic(point, onWays) {
  return request(
    "Make synthetic full",
    "/v1/synthetics",
    el("span", { class: "hint" }, "Resolves this point into a full of its own; no data is read or moved."),
    () => ({
      body: { restore_point_id: point.restore_point_id },
      words: ["synth", `${point.source}/${point.machine}`, "--at", shortId(point.restore_point_id)],
    }),
    onWays,
  );
}

/** The requests that the reader's role may make, or null when there is none. */
export function actions(point, disks, onWays) {
  const offered = [
    may("verify") && !point.deleted && verify(point, onWays),
    may("restore") && !point.deleted && restore(point, disks, onWays),
    may("backup") && backup(point, onWays),
    may("backup") && !point.deleted && synthetic(point, onWays),
  ].filter(Boolean);
  if (!offered.length) return null;
  onWays(offered[0].ways());
  return el(
    "div",
    { class: "requests" },
    offered.map((one) => one.element),
  );
}
