// Server-sent events over fetch, since EventSource can't send a token. Comes back after a break where it left off.

import { send } from "./api.js";

const FIRST_WAIT = 500;
const LONGEST_WAIT = 10000;

/** Yield {event, data, id} from the text of an event stream. */
export async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let found = { event: "message", data: [], id: undefined };
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const lines = (rest + value).split(/\r\n|\n|\r(?!$)/);
      rest = lines.pop();
      for (const line of lines) {
        if (line === "") {
          if (found.data.length) yield { ...found, data: found.data.join("\n") };
          found = { event: "message", data: [], id: found.id };
        } else if (!line.startsWith(":")) {
          const [, name, value = ""] = /^([^:]*)(?:: ?(.*))?$/.exec(line);
          if (name === "data") found.data.push(value);
          else if (name === "event" || name === "id") found[name] = value;
        }
      }
    }
  } finally {
    reader.cancel().catch(() => undefined);
  }
}

const pause = (time, signal) =>
  new Promise((resolve) => {
    const timer = setTimeout(resolve, time);
    signal.addEventListener(
      "abort",
      () => {
        clearTimeout(timer);
        resolve();
      },
      { once: true },
    );
  });

/** Call `onEvent` for each event until it returns true or `signal` aborts; `onBreak` hears of lost connections. */
export async function follow(path, { onEvent, onBreak, signal }) {
  let wait = FIRST_WAIT;
  let last;
  while (!signal.aborted) {
    try {
      const headers = last ? { "Last-Event-ID": last } : {};
      const response = await send(path, { accept: "text/event-stream", headers, signal });
      for await (const event of events(response.body)) {
        last = event.id ?? last;
        wait = FIRST_WAIT;
        if (onEvent(event)) return;
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error.status >= 400 && error.status < 500 && error.status !== 429) throw error;
      onBreak?.(error);
    }
    await pause(wait, signal);
    wait = Math.min(wait * 2, LONGEST_WAIT);
  }
}
