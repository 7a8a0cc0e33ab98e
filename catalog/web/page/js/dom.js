// Elements from text, never from markup. Every string goes through `shown`.

import { shown, shownLines, when } from "./text.js";

const SVG = "http://www.w3.org/2000/svg";
const PROPERTIES = new Set(["value", "checked", "disabled", "hidden", "tabIndex", "htmlFor", "selected", "open"]);

function furnish(element, properties, children) {
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.setAttribute("class", value);
    else if (name === "data") Object.assign(element.dataset, value);
    else if (PROPERTIES.has(name)) element[name] = value;
    else element.setAttribute(name, value === true ? "" : shown(value));
  }
  add(element, children);
  return element;
}

export function add(element, children) {
  for (const child of [children].flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : document.createTextNode(shown(child)));
  }
  return element;
}

/** An HTML element; `properties` are attributes, `on...` listeners, `data` and a few properties. */
export const el = (tag, properties, ...children) => furnish(document.createElement(tag), properties, children);

export const svg = (tag, properties, ...children) =>
  furnish(document.createElementNS(SVG, tag), properties, children);

/** Replace what is in `element`. */
export function fill(element, ...children) {
  element.replaceChildren();
  return add(element, children);
}

/** Text with its line breaks, in a <pre>. */
export function pre(text, properties) {
  const element = el("pre", { tabIndex: 0, ...properties });
  element.append(document.createTextNode(shownLines(text)));
  return element;
}

/** A name from outside: kept apart from the direction of the text around it. */
export const name = (text) => el("bdi", { class: "name" }, text);

export const button = (label, onclick, properties) => el("button", { type: "button", onclick, ...properties }, label);

/** A time, to the second, that is never broken into two lines. */
export const time = (value) => (value ? el("time", { datetime: value }, when(value)) : el("span", {}, "\u2013"));

/** A labelled control: the label is above it. */
export const field = (label, control, properties) =>
  el("label", { class: "field", ...properties }, el("span", {}, label), control);

export const option = (value, label, chosen) => el("option", { value, selected: value === chosen }, label);

/** A word with its meaning in shape, text and colour. */
export const badge = (kind, label) => el("span", { class: `badge is-${kind}` }, label);

/** Names and values, one under the other. */
export const facts = (pairs) =>
  el(
    "dl",
    { class: "facts" },
    pairs.map(([term, value]) => el("div", {}, el("dt", {}, term), el("dd", {}, value))),
  );
