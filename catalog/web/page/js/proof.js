// One event's proof: fetched, then checked here. The server's word counts for nothing in what is said to hold.

import { ask, send } from "./api.js";
import { button, el, facts, fill, pre } from "./dom.js";
import { fromBase64, fromHex, leafOf, rootOf, same, toHex } from "./merkle.js";
import { unpack } from "./msgpack.js";
import { readKey, readNote, signedBy } from "./note.js";
import { problemBox } from "./panel.js";
import { many, short } from "./text.js";

const PLAIN = 0;

/** Check a proof; returns what was found, each {ok: true|false|null, say}. Raises Error when it makes no sense. */
export async function checkProof(proof, publicKey) {
  const note = readNote(proof.checkpoint);
  const state = fromBase64(proof.state);
  const leaf = await leafOf({
    stream: fromHex(proof.stream_id.replaceAll("-", "")),
    version: proof.version,
    topic: proof.topic,
    state,
  });
  const root = await rootOf(leaf, proof.position - 1, note.size, proof.path.map(fromHex));
  const holds = root !== null && same(root, note.root);
  const key = await readKey(publicKey);
  const signed = await signedBy(note, key);
  const steps = [
    {
      ok: true,
      say: `The event's ${many(state.length, "stored byte")} hash to the leaf ${short(toHex(leaf), 16)}`,
    },
    {
      ok: holds,
      say: holds
        ? `With ${many(proof.path.length, "hash", "hashes")} beside it, the leaf gives the root of the checkpoint ` +
          `over ${many(note.size, "event")}.`
        : "The leaf and the path do not give the checkpoint's root: this event is not the one that was recorded.",
    },
    {
      ok: signed,
      say: {
        true: `The checkpoint is signed by ${key.name}, key ${toHex(key.keyId)}.`,
        false: "The checkpoint is not signed by the catalog's key.",
        null: "This browser cannot check Ed25519 signatures: check the note below with another tool.",
      }[signed],
    },
  ];
  return { steps, leaf, root, note, key, body: state[0] === PLAIN ? unpack(state.subarray(1)) : null };
}

const MARKS = {
  true: ["holds", "\u2713 holds"],
  false: ["fails", "\u00d7 fails"],
  null: ["unknown", "? not checked"],
};

function report(proof, found) {
  const fails = found.steps.some((step) => step.ok === false);
  const verdict = fails ? "This event does not verify." : "This event is in the signed record, unaltered.";
  return el(
    "div",
    { class: `proof ${fails ? "is-bad" : "is-good"}` },
    el("strong", { role: "status" }, verdict),
    el(
      "ol",
      {},
      found.steps.map(({ ok, say }) =>
        el("li", {}, el("span", { class: `mark is-${MARKS[ok][0]}` }, MARKS[ok][1]), " ", say),
      ),
    ),
    el(
      "p",
      { class: "hint" },
      "Checked in this browser. It holds against the key shown here: compare that with the ",
      "copy you keep, since who runs the server could sign with another.",
    ),
    el(
      "details",
      {},
      el("summary", {}, "What was checked"),
      facts([
        ["Leaf", el("code", {}, toHex(found.leaf))],
        ["Root", el("code", {}, found.root ? toHex(found.root) : "none")],
        ["Key", el("code", {}, `${found.key.name}+${toHex(found.key.keyId)}`)],
      ]),
      el("h5", {}, "Path"),
      pre(proof.path.join("\n") || "none: the event is alone in the log"),
      el("h5", {}, "Checkpoint"),
      pre(proof.checkpoint),
      found.body && [
        el("h5", {}, "The event, as the proven bytes have it"),
        pre(JSON.stringify(found.body, null, 2)),
      ],
    ),
  );
}

/** A button that proves the event at `position`, and the place for what comes of it. */
export function prover(position) {
  const place = el("div", { class: "proof-place" });
  const run = button(
    "Prove",
    async () => {
      run.disabled = true;
      fill(place, el("p", { role: "status" }, "Checking\u2026"));
      try {
        if (!crypto.subtle) throw noCrypto();
        const [{ data }, key] = await Promise.all([
          ask(`/v1/events/${position}/proof`),
          send("/v1/ledger/key", { accept: "text/plain, application/json" }).then((response) => response.text()),
        ]);
        fill(place, report(data, await checkProof(data, keyText(key))));
      } catch (error) {
        const known = error.title
          ? error
          : Object.assign(error, {
              title: "The proof makes no sense",
              detail: error.message,
              code: "proof-malformed",
              hint: "Take this as a proof that fails: do not trust the record before it is explained.",
            });
        fill(place, problemBox(known));
      }
      run.disabled = false;
    },
    { "aria-label": `Prove event ${position}` },
  );
  return { run, place };
}

/** The key as text, whether it came plain or in JSON. */
function keyText(text) {
  return text.startsWith("{") ? (JSON.parse(text).key ?? JSON.parse(text).public_key) : text;
}

function noCrypto() {
  return Object.assign(new Error("no WebCrypto"), {
    title: "This page cannot check proofs here",
    code: "insecure-context",
    detail: "Browsers allow cryptography over HTTPS or on the same machine only.",
    hint: "Open the page over HTTPS, or check with: holdfast prove check FILE",
  });
}
