// Talks to the API. Every answer comes with the position it is of; every failure is a Problem that says what to do.

import { at } from "./state.js";
import { forget, token } from "./token.js";

/** What went wrong, as the API tells it (RFC 9457), or as the page sees it when nothing answers. */
export class Problem extends Error {
  constructor(body, status = 0) {
    super(body.detail || body.title);
    Object.assign(this, { status, title: "", detail: "", hint: "", code: "", errors: [], ...body });
  }
}

const UNREACHABLE = {
  title: "The server does not answer",
  detail: "It may be restarting, or the network between here and there is down.",
  hint: "This page tries again by itself.",
  code: "server-unreachable",
  retryable: true,
};

/** Numbers that JavaScript would round stay as they were written. */
function exact(key, value, context) {
  return typeof value === "number" && Number.isInteger(value) && !Number.isSafeInteger(value) && context?.source
    ? context.source
    : value;
}

export const parse = (text) => JSON.parse(text, exact);

/** The path with its query; `as_of` of the page is added to reads unless `live`. */
export function target(path, query = {}, { live = false } = {}) {
  const all = { ...query };
  if (!live && at("as_of")) all.as_of = at("as_of");
  const kept = Object.entries(all).filter(([, value]) => value !== null && value !== undefined && value !== "");
  return kept.length ? `${path}?${new URLSearchParams(kept)}` : path;
}

async function problemOf(response) {
  const text = await response.text();
  try {
    return new Problem(parse(text), response.status);
  } catch {
    return new Problem(
      { title: `The server answered ${response.status}`, detail: text.slice(0, 300) },
      response.status,
    );
  }
}

/** Send a request; returns the Response. Raises Problem. */
export async function send(path, { method = "GET", body, accept = "application/json", key, signal, headers } = {}) {
  const all = { Accept: accept, ...headers };
  if (token()) all.Authorization = `Bearer ${token()}`;
  if (body !== undefined) all["Content-Type"] = "application/json";
  if (key) all["Idempotency-Key"] = key;
  let response;
  try {
    response = await fetch(path, {
      method,
      headers: all,
      signal,
      credentials: "omit",
      redirect: "error",
      body: body && JSON.stringify(body),
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(UNREACHABLE);
  }
  if (response.ok) return response;
  const problem = await problemOf(response);
  if (response.status === 401) forget(problem);
  throw problem;
}

/** Send a request and read its JSON: {data, position, lag, time, response}; `time` is that of the position. */
export async function ask(path, options) {
  const response = await send(path, options);
  let text;
  try {
    text = await response.text();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(UNREACHABLE);
  }
  const number = (name) => (response.headers.has(name) ? Number(response.headers.get(name)) : null);
  return {
    data: text ? parse(text) : null,
    position: number("Catalog-Position"),
    lag: number("Catalog-Lag"),
    time: response.headers.get("Catalog-Time"),
    response,
  };
}

/** All items of a list, page by page, at most `most`; `more` says whether something was left off. */
export async function all(path, query, { most = 1000, live = false } = {}) {
  const items = [];
  let cursor;
  let answer;
  do {
    answer = await ask(target(path, { limit: Math.min(most, 1000), ...query, cursor }, { live }));
    items.push(...answer.data.items);
    cursor = answer.data.next;
  } while (cursor && items.length < most);
  return { ...answer, items, more: Boolean(cursor) };
}

/** Save an answer as a file of the reader's. */
export async function download(path, options, filename) {
  const response = await send(path, options);
  const blob = await response.blob().catch(() => {
    throw new Problem({
      title: "The answer broke off",
      code: "answer-cut",
      detail: "The server ended it before it was whole.",
    });
  });
  const address = URL.createObjectURL(blob);
  const link = document.createElement("a");
  link.href = address;
  link.download = filename;
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 60000);
  return { size: blob.size, response };
}

/** A key under which the same request is made once. */
export function newKey() {
  const random = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(random, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
