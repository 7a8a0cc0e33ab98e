// Reads msgpack, the form in which events are stored: so that the page shows what the proven bytes say, and need not
// take the server's word for it. Binary becomes hex, times RFC 3339. Raises Error on what events never hold.

import { toHex } from "./merkle.js";

const UTF8 = new TextDecoder("utf-8", { fatal: true });

export function unpack(bytes) {
  const reader = new Reader(bytes);
  const value = reader.value();
  if (reader.at !== bytes.length) throw new Error("bytes are left over");
  return value;
}

class Reader {
  constructor(bytes) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.at = 0;
  }

  take(length) {
    this.at += length;
    if (this.at > this.bytes.length) throw new Error("the bytes end too early");
    return this.at - length;
  }

  number(size, kind = "Uint") {
    const at = this.take(size);
    if (size < 8) return this.view[`get${kind}${size * 8}`](at);
    const wide = this.view[kind === "Int" ? "getBigInt64" : "getBigUint64"](at);
    return Number.isSafeInteger(Number(wide)) ? Number(wide) : String(wide);
  }

  text(length) {
    const at = this.take(length);
    return UTF8.decode(this.bytes.subarray(at, at + length));
  }

  binary(length) {
    const at = this.take(length);
    return toHex(this.bytes.subarray(at, at + length));
  }

  list(length) {
    return Array.from({ length: Math.min(length, this.bytes.length) }, () => this.value());
  }

  map(length) {
    return Object.fromEntries(
      Array.from({ length: Math.min(length, this.bytes.length) }, () => [String(this.value()), this.value()]),
    );
  }

  extension(length) {
    const type = this.number(1, "Int");
    if (type !== -1) return this.binary(length);
    let nanoseconds = 0;
    let seconds;
    if (length === 4) seconds = BigInt(this.number(4));
    else if (length === 8) {
      const both = this.view.getBigUint64(this.take(8));
      nanoseconds = Number(both >> 34n);
      seconds = both & 0x3ffffffffn;
    } else {
      nanoseconds = this.number(4);
      seconds = this.view.getBigInt64(this.take(8));
    }
    const whole = new Date(Number(seconds) * 1000).toISOString().slice(0, 19);
    return nanoseconds ? `${whole}.${String(nanoseconds / 1000).padStart(6, "0")}Z` : `${whole}Z`;
  }

  value() {
    const lead = this.number(1);
    if (lead < 0x80) return lead;
    if (lead < 0x90) return this.map(lead & 0x0f);
    if (lead < 0xa0) return this.list(lead & 0x0f);
    if (lead < 0xc0) return this.text(lead & 0x1f);
    if (lead >= 0xe0) return lead - 0x100;
    const read = FORMS[lead];
    if (!read) throw new Error(`unknown form ${lead}`);
    return read(this);
  }
}

const FORMS = {
  0xc0: () => null,
  0xc2: () => false,
  0xc3: () => true,
  0xc4: (r) => r.binary(r.number(1)),
  0xc5: (r) => r.binary(r.number(2)),
  0xc6: (r) => r.binary(r.number(4)),
  0xc7: (r) => r.extension(r.number(1)),
  0xca: (r) => r.view.getFloat32(r.take(4)),
  0xcb: (r) => r.view.getFloat64(r.take(8)),
  0xcc: (r) => r.number(1),
  0xcd: (r) => r.number(2),
  0xce: (r) => r.number(4),
  0xcf: (r) => r.number(8),
  0xd0: (r) => r.number(1, "Int"),
  0xd1: (r) => r.number(2, "Int"),
  0xd2: (r) => r.number(4, "Int"),
  0xd3: (r) => r.number(8, "Int"),
  0xd4: (r) => r.extension(1),
  0xd5: (r) => r.extension(2),
  0xd6: (r) => r.extension(4),
  0xd7: (r) => r.extension(8),
  0xd8: (r) => r.extension(16),
  0xd9: (r) => r.text(r.number(1)),
  0xda: (r) => r.text(r.number(2)),
  0xdb: (r) => r.text(r.number(4)),
  0xdc: (r) => r.list(r.number(2)),
  0xdd: (r) => r.list(r.number(4)),
  0xde: (r) => r.map(r.number(2)),
  0xdf: (r) => r.map(r.number(4)),
};
