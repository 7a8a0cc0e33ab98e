// A task as it goes: its bar, fed by the server's events, and what came of it.

import { ask } from "./api.js";
import { badge, button, el, fill, name } from "./dom.js";
import { problemBox } from "./panel.js";
import { follow } from "./stream.js";
import { link } from "./state.js";
import { ago, bytes, shortId } from "./text.js";

const OPEN = new Set(["requested", "running", "cancelling"]);
const KIND = {
  requested: "plain",
  running: "present",
  cancelling: "partial",
  succeeded: "verified",
  partial: "partial",
  failed: "damaged",
  cancelled: "deleted",
};

export const isOpen = (task) => OPEN.has(task.status);

export const statusBadge = (task) => badge(KIND[task.status] ?? "plain", task.status);

function outcome(task) {
  if (task.failure) {
    return el("p", { class: "bad" }, task.failure.why, " ", el("code", {}, task.failure.code));
  }
  const points = task.restore_points ?? [];
  return el(
    "p",
    {},
    task.detail,
    " ",
    points.slice(0, 20).map((id) => [el("a", { href: link({ view: "point", point: id }) }, shortId(id)), " "]),
  );
}

/** What to show of a task now. */
function face(task) {
  const total = task.total_bytes || 0;
  const done = Math.min(task.done_bytes || 0, total || Infinity);
  const meter = el("progress", {
    max: total || 1,
    value: total ? done : null,
    "aria-label": `Progress of ${task.kind}`,
  });
  if (!isOpen(task)) return [statusBadge(task), outcome(task)];
  return [
    statusBadge(task),
    meter,
    el(
      "span",
      { class: "stamp" },
      total ? `${bytes(done)} of ${bytes(total)}` : task.status === "requested" ? "waiting for a worker" : "",
      task.what && [" \u00b7 ", name(task.what)],
    ),
  ];
}

/** An element that follows a task until it ends, unless not to `watch`; `signal` stops it, `onEnd` hears of the end. */
export function live(task, { signal, onEnd, mayCancel = false, watch = true } = {}) {
  const holder = el("div", { class: "task-live" });
  const trouble = el("div", {});
  const cancel =
    mayCancel &&
    button(
      "Cancel",
      async () => {
        cancel.disabled = true;
        try {
          show((await ask(`/v1/tasks/${task.task_id}/cancel`, { method: "POST" })).data ?? task);
          fill(trouble);
        } catch (error) {
          fill(trouble, problemBox(error));
          cancel.disabled = false;
        }
      },
      { class: "quiet" },
    );
  let now = task;
  const show = (next) => {
    now = { ...now, ...next };
    fill(holder, face(now));
    if (cancel) cancel.hidden = !isOpen(now);
  };
  show(task);
  if (isOpen(task) && watch) {
    follow(`/v1/tasks/${task.task_id}/progress`, {
      signal: signal ?? new AbortController().signal,
      onEvent: ({ data }) => {
        show(JSON.parse(data));
        fill(trouble);
        if (!isOpen(now)) onEnd?.(now);
        return !isOpen(now);
      },
      onBreak: () => fill(trouble, el("p", { class: "hint" }, "The connection broke; it is tried again.")),
    }).catch((error) => fill(trouble, problemBox(error)));
  }
  return el(
    "div",
    { class: "task", data: { task: task.task_id } },
    el("span", { class: "stamp" }, `${task.kind}, asked for ${ago(task.requested_at)}`),
    holder,
    cancel,
    trouble,
  );
}
