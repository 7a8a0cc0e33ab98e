"""Members of a pax tar archive as bytes: always the same for the same facts. Imports nothing of ours.

A member has an extended header for whatever the old one cannot hold: long or odd names, times to the nanosecond,
extended attributes, the map of a sparse file (GNU 1.0). Padding is a global header with a comment, which readers skip.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass

BLOCK = 512
PAD_LEAST = 2 * BLOCK
PAD_MOST = 128 << 10
"""Bytes of one padding member: readers keep a header in memory."""
_OCTAL_8 = 0o7777777
_OCTAL_12 = 0o77777777777
_NAME_BYTES = 100


@dataclass(frozen=True, slots=True)
class MemberFacts:
    """What an archive keeps of a file. `link`: where a symbolic or hard link leads; `map`: a sparse file's data."""

    name: bytes
    kind: bytes
    mode: int
    uid: int
    gid: int
    user: bytes
    group: bytes
    size_bytes: int
    modified_ns: int
    link: bytes = b""
    device: int = 0
    attributes: tuple[tuple[bytes, bytes], ...] = ()
    map: tuple[tuple[int, int], ...] | None = None


def kind_of(mode: int) -> bytes | None:
    """The type flag for a file's mode; None for what an archive cannot hold, such as a socket."""
    kinds = {
        stat.S_IFREG: b"0",
        stat.S_IFLNK: b"2",
        stat.S_IFCHR: b"3",
        stat.S_IFBLK: b"4",
        stat.S_IFDIR: b"5",
        stat.S_IFIFO: b"6",
    }
    return kinds.get(stat.S_IFMT(mode))


def head_of(facts: MemberFacts) -> bytes:
    """Everything in front of a member's data: extended header, header, and the map of a sparse file."""
    front = b"" if facts.map is None else _padded(_sparse_map(facts.map))
    stored = facts.size_bytes if facts.map is None else len(front) + sum(length for _, length in facts.map)
    name = facts.name if facts.map is None else b"GNUSparseFile.0/" + facts.name.rpartition(b"/")[2]
    records = _records(facts, stored)
    extended = b"" if not records else _header(b"x-head", b"x", len(records)) + _padded(records)
    return extended + _header(name, facts.kind, stored, facts) + front


def data_bytes(facts: MemberFacts) -> int:
    """How much of a member is the file's data, beside its head."""
    return facts.size_bytes if facts.map is None else sum(length for _, length in facts.map)


def padding(length: int) -> bytes:
    """A member of exactly `length` bytes, PAD_LEAST to PAD_MOST in whole blocks, that readers skip."""
    body = length - BLOCK
    fixed = len(b"%d comment=\n" % body)
    return _header(b"pad", b"g", body) + b"%d comment=%s\n" % (body, b" " * (body - fixed))


def paddings(length: int) -> list[int]:
    """The lengths of padding members that fill `length`, which is 0 or at least PAD_LEAST."""
    pieces = []
    while length:
        piece = length if length <= PAD_MOST else min(PAD_MOST, length - PAD_LEAST)
        pieces.append(piece)
        length -= piece
    return pieces


def _records(facts: MemberFacts, stored: int) -> bytes:
    found: list[tuple[bytes, bytes]] = []
    if len(facts.name) > _NAME_BYTES or not facts.name.isascii():
        found.append((b"path", facts.name))
    if len(facts.link) > _NAME_BYTES or not facts.link.isascii():
        found.append((b"linkpath", facts.link))
    seconds, rest = divmod(facts.modified_ns, 1_000_000_000)
    if rest or not 0 <= seconds <= _OCTAL_12:
        found.append((b"mtime", _time(facts.modified_ns)))
    if stored > _OCTAL_12:
        found.append((b"size", b"%d" % stored))
    found += [
        (name, b"%d" % number) for name, number in ((b"uid", facts.uid), (b"gid", facts.gid)) if number > _OCTAL_8
    ]
    if facts.map is not None:
        found += [(b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.name", facts.name)]
        found.append((b"GNU.sparse.realsize", b"%d" % facts.size_bytes))
    found += [(b"SCHILY.xattr." + name, value) for name, value in facts.attributes]
    return b"".join(_record(name, value) for name, value in found)


def _record(name: bytes, value: bytes) -> bytes:
    """A line that begins with its own length."""
    rest = b" %s=%s\n" % (name, value)
    length = len(rest) + 1
    while len(b"%d" % length) + len(rest) != length:
        length = len(b"%d" % length) + len(rest)
    return b"%d%s" % (length, rest)


def _time(modified_ns: int) -> bytes:
    sign, number = (b"-", -modified_ns) if modified_ns < 0 else (b"", modified_ns)
    seconds, rest = divmod(number, 1_000_000_000)
    return b"%s%d.%09d" % (sign, seconds, rest)


def _sparse_map(entries: Sequence[tuple[int, int]]) -> bytes:
    numbers = [len(entries), *(number for entry in entries for number in entry)]
    return b"".join(b"%d\n" % number for number in numbers)


def _header(name: bytes, kind: bytes, size: int, facts: MemberFacts | None = None) -> bytes:
    """One block; a number too large for its field is 0 here and in the extended header."""
    seconds = 0 if facts is None else facts.modified_ns // 1_000_000_000
    device = 0 if facts is None else facts.device
    fields = (
        name[:_NAME_BYTES].ljust(100, b"\0"),
        _octal(0o644 if facts is None else facts.mode & 0o7777, 8),
        _octal(0 if facts is None or facts.uid > _OCTAL_8 else facts.uid, 8),
        _octal(0 if facts is None or facts.gid > _OCTAL_8 else facts.gid, 8),
        _octal(size if size <= _OCTAL_12 else 0, 12),
        _octal(seconds if 0 <= seconds <= _OCTAL_12 else 0, 12),
        b" " * 8,
        kind,
        (b"" if facts is None else facts.link[:_NAME_BYTES]).ljust(100, b"\0"),
        b"ustar\x0000",
        (b"" if facts is None else facts.user[:31]).ljust(32, b"\0"),
        (b"" if facts is None else facts.group[:31]).ljust(32, b"\0"),
        _octal(os.major(device), 8),
        _octal(os.minor(device), 8),
        bytes(155 + 12),
    )
    block = b"".join(fields)
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def _octal(number: int, width: int) -> bytes:
    return b"%0*o\0" % (width - 1, number)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % BLOCK)
