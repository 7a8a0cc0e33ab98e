// Merkle proofs as in RFC 6962, computed by the browser itself (WebCrypto). Knows nothing of the page.

const HEX = /^(?:[0-9a-f]{2})*$/i;

export function fromHex(text) {
  if (!HEX.test(text)) throw new Error("not hex digits");
  return Uint8Array.from(text.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
}

export const fromBase64 = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));

export const toHex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

export function joined(...pieces) {
  const all = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let offset = 0;
  for (const piece of pieces) {
    all.set(piece, offset);
    offset += piece.length;
  }
  return all;
}

export async function sha256(...pieces) {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", joined(...pieces)));
}

const node = (left, right) => sha256(Uint8Array.of(1), left, right);

export const same = (one, other) => one.length === other.length && one.every((byte, index) => byte === other[index]);

function sized(bytes) {
  const eight = new Uint8Array(8);
  new DataView(eight.buffer).setBigUint64(0, BigInt(bytes.length));
  return joined(eight, bytes);
}

/** The leaf of an event: its stream (16 bytes), version, topic and state, each behind its length. */
export function leafOf({ stream, version, topic, state }) {
  const number = new Uint8Array(8);
  new DataView(number.buffer).setBigUint64(0, BigInt(version));
  return sha256(Uint8Array.of(0), sized(stream), sized(number), sized(new TextEncoder().encode(topic)), sized(state));
}

/** The root that `leaf`, entry number `index` (from 0) of `size`, has with `path`; null when the path doesn't fit. */
export async function rootOf(leaf, index, size, path) {
  let place = BigInt(index);
  let last = BigInt(size) - 1n;
  if (place < 0n || place > last) return null;
  let root = leaf;
  for (const sibling of path) {
    if (last === 0n || sibling.length !== 32) return null;
    if (place & 1n || place === last) {
      root = await node(sibling, root);
      while (place !== 0n && !(place & 1n)) {
        place >>= 1n;
        last >>= 1n;
      }
    } else {
      root = await node(root, sibling);
    }
    place >>= 1n;
    last >>= 1n;
  }
  return last === 0n ? root : null;
}
