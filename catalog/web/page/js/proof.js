// One event's proof: fetched, then checked here. The server's word counts for nothing in what is said to hold.

import { ask } from "./api.js";
import { button, el, facts, fill, pre } from "./dom.js";
import { fromBase64, fromHex, leafOf, rootOf, same, toHex } from "./merkle.js";
import { unpack } from "./msgpack.js";
import { readKey, readNote, signedBy } from "./note.js";
import { problemBox } from "./panel.js";
import { many, short } from "./text.js";

const PLAIN = 0;
const KEY = "holdfast.ledger-key";

/** Whether the key is the one that this browser saw first; that one is remembered. */
function keyStep(written) {
  let first = null;
  try {
    first = localStorage.getItem(KEY);
    if (first === null) localStorage.setItem(KEY, written);
  } catch {
    return { ok: null, say: "This browser keeps nothing, so it cannot tell whether the key changed." };
  }
  if (first === null)
    return { ok: null, say: "It is the first key that this browser sees: compare it with your copy." };
  return first === written
    ? { ok: true, say: "The key is the one that this browser has seen from the first." }
    : { ok: false, say: `The key is another than this browser saw first: ${first}` };
}

/** Check a proof; returns what was found, each step {ok: true|false|null, say}. Raises Error when it makes no sense. */
export async function checkProof(proof) {
  const note = readNote(proof.checkpoint);
  const key = await readKey(proof.public_key);
  const state = fromBase64(proof.state);
  const stream = fromHex(proof.originator_id.replaceAll("-", ""));
  const leaf = await leafOf({ stream, version: proof.originator_version, topic: proof.topic, state });
  const root = await rootOf(leaf, proof.position - 1, note.size, proof.path.map(fromBase64));
  const holds = root !== null && same(root, note.root);
  const signed = await signedBy(note, key);
  const leafStep = {
    ok: true,
    say: `The event's ${many(state.length, "stored byte")} hash to ${short(toHex(leaf), 16)}`,
  };
  const rootStep = {
    ok: holds,
    say: holds
      ? `With ${many(proof.path.length, "hash", "hashes")} beside it, that gives the root of the checkpoint over ` +
        `${many(note.size, "event")}.`
      : "That does not give the checkpoint's root: the event is not the one that was recorded at this position.",
  };
  const says = {
    true: `The checkpoint is signed by ${key.name}, key ${toHex(key.keyId)}.`,
    false: "The checkpoint is not signed by the catalog's key.",
    null: "This browser cannot check Ed25519 signatures: check the note below with another tool.",
  };
  const steps = [leafStep, rootStep, { ok: signed, say: says[signed] }, keyStep(proof.public_key)];
  return { steps, leaf, root, key, body: state[0] === PLAIN ? unpack(state.subarray(1)) : null };
}

const MARKS = {
  true: ["holds", "\u2713 holds"],
  false: ["fails", "\u00d7 fails"],
  null: ["unknown", "? yours to check"],
};

function details(proof, found) {
  return el(
    "details",
    {},
    el("summary", {}, "What was checked"),
    facts([
      ["Leaf", el("code", {}, toHex(found.leaf))],
      ["Root", el("code", {}, found.root ? toHex(found.root) : "none")],
      ["Public key", el("code", {}, proof.public_key)],
    ]),
    el("h5", {}, "Path, from the leaf up"),
    pre(proof.path.map((node) => toHex(fromBase64(node))).join("\n") || "none: the event is alone in the log"),
    el("h5", {}, "Signed checkpoint"),
    pre(proof.checkpoint),
    el("h5", {}, "The event, as the proven bytes have it"),
    found.body
      ? pre(JSON.stringify(found.body, null, 2))
      : el("p", { class: "hint" }, "It is stored compressed, which this page does not undo."),
  );
}

function report(proof, found) {
  const fails = found.steps.some((step) => step.ok === false);
  return el(
    "div",
    { class: `proof ${fails ? "is-bad" : "is-good"}` },
    el(
      "strong",
      { role: "status" },
      fails ? "This event does not verify." : "This event is in the signed record, unaltered.",
    ),
    el(
      "ol",
      {},
      found.steps.map(({ ok, say }) =>
        el("li", {}, el("span", { class: `mark is-${MARKS[ok][0]}` }, MARKS[ok][1]), " ", say),
      ),
    ),
    el("p", { class: "hint" }, "Computed by this browser. The key decides: keep a copy of it away from this server."),
    details(proof, found),
  );
}

/** A button that proves the event at `position`, and the place for what comes of it. */
export function prover(position) {
  const place = el("div", { class: "proof-place" });
  const check = async () => {
    run.disabled = true;
    fill(place, el("p", { role: "status" }, "Checking\u2026"));
    try {
      if (!crypto.subtle) throw noCrypto();
      const { data } = await ask(`/v1/events/${position}/proof`);
      fill(place, report(data, await checkProof(data)));
    } catch (error) {
      fill(place, problemBox(error.title ? error : malformed(error)));
    }
    run.disabled = false;
  };
  const run = button("Prove", check, { "aria-label": `Prove event ${position}` });
  return { run, place };
}

const malformed = (error) => ({
  title: "The proof makes no sense",
  detail: error.message,
  code: "proof-malformed",
  hint: "Take it as one that fails: do not trust the record before this is explained.",
});

function noCrypto() {
  return Object.assign(new Error("no WebCrypto"), {
    title: "This page cannot check proofs here",
    code: "insecure-context",
    detail: "Browsers allow cryptography over HTTPS or on the same machine only.",
    hint: "Open the page over HTTPS, or check a bundle with: holdfast prove check FILE --key KEY",
  });
}
