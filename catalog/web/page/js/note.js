// Signed notes (C2SP): what a checkpoint says, and whether a key signed it. Knows nothing of the page.

import { fromBase64, joined, same, sha256 } from "./merkle.js";

const SIGNATURE = /^\u2014 (\S+) ([A-Za-z0-9+/]+={0,2})$/;
const ED25519 = 1;

/** {text, origin, size, root, signatures} of a note over a checkpoint. Raises Error when it is none. */
export function readNote(note) {
  const end = note.lastIndexOf("\n\n");
  if (end < 0 || !note.endsWith("\n")) throw new Error("this is no signed note");
  const text = note.slice(0, end + 1);
  const [origin, size, root] = text.split("\n");
  if (!/^(0|[1-9][0-9]*)$/.test(size) || fromBase64(root).length !== 32) throw new Error("this is no checkpoint");
  const signatures = note
    .slice(end + 2, -1)
    .split("\n")
    .map((line) => {
      const found = SIGNATURE.exec(line);
      if (!found) throw new Error("a signature line is malformed");
      const blob = fromBase64(found[2]);
      return { name: found[1], keyId: blob.slice(0, 4), signature: blob.slice(4) };
    });
  return { text, origin, size: Number(size), root: fromBase64(root), signatures };
}

/** {name, keyId, key} of a public key written NAME+HASH+BASE64. Raises Error when it is none, or lies of its hash. */
export async function readKey(written) {
  const [, name, hash, rest] = /^([^+\s]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/]+={0,2})$/.exec(written.trim()) ?? [];
  if (!name) throw new Error("this is no public key of notes");
  const bytes = fromBase64(rest);
  const digest = await sha256(new TextEncoder().encode(`${name}\n`), bytes);
  const keyId = digest.slice(0, 4);
  const told = Uint8Array.from(hash.match(/../g), (pair) => Number.parseInt(pair, 16));
  if (bytes[0] !== ED25519 || bytes.length !== 33 || !same(keyId, told))
    throw new Error("the key is not what it says");
  return { name, keyId, key: bytes.slice(1) };
}

/** Whether `key` signed the note: true, false, or null when this browser can't tell. */
export async function signedBy(note, key) {
  const found = note.signatures.find((one) => one.name === key.name && same(one.keyId, key.keyId));
  if (!found) return false;
  let imported;
  try {
    imported = await crypto.subtle.importKey("raw", key.key, { name: "Ed25519" }, false, ["verify"]);
  } catch {
    return null;
  }
  return crypto.subtle.verify(
    { name: "Ed25519" },
    imported,
    joined(found.signature),
    new TextEncoder().encode(note.text),
  );
}
