"""What service, zygote and worker say to each other over socket pairs. Imports this package.

A frame is a kind (one byte), a length (four, big endian) and that many bytes. Descriptors follow the frame that
announces them, at most 250 with each byte: the kernel takes 253 in a message.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence
from enum import Enum

import msgspec

from catalog.sql.door.rowfilter import RowFilter

MAX_FRAME_BYTES = 8 << 20
DESCRIPTORS_A_MESSAGE = 250
_HEAD = struct.Struct(">cI")


class Kind(bytes, Enum):
    """What a frame is."""

    ENTER = b"n"
    ASK = b"q"
    READY = b"r"
    COLUMNS = b"c"
    DATA = b"d"
    END = b"e"
    FAILED = b"x"


class Source(msgspec.Struct, frozen=True):
    """One table: how many of the descriptors are its files, and which rows of them may be seen (None: all)."""

    table: str
    files: int
    copied: bool = False
    """Whether the one descriptor is an Arrow stream that the service has filtered already."""
    only: RowFilter | None = None


class Enter(msgspec.Struct, frozen=True):
    """All that a worker will ever know; `statements` name a table's rows by `placeholder`."""

    sources: list[Source]
    statements: list[str]
    threads: int


class Ask(msgspec.Struct, frozen=True):
    """The one statement that a worker is for."""

    query: str
    format: str
    row_limit: int
    seconds: float
    memory_bytes: int


class Ready(msgspec.Struct, frozen=True):
    """The worker has its tables, and these layers hold."""

    layers: list[str]


class AnswerColumn(msgspec.Struct, frozen=True):
    """A column of an answer; `type` is DuckDB's name of it."""

    name: str
    type: str


class Columns(msgspec.Struct, frozen=True):
    """The statement can run; this is what its rows will have."""

    columns: list[AnswerColumn]


class End(msgspec.Struct, frozen=True):
    """The answer is whole, or was cut behind `rows` rows."""

    rows: int
    truncated: bool


class Failed(msgspec.Struct, frozen=True):
    """There is no answer, or no more of it; `kind` as in `storage.errors`."""

    kind: str
    code: str
    what: str
    why: str = ""
    hint: str = ""


def placeholder(table: str) -> str:
    """What stands in Enter.statements for the rows of a table."""
    return f"@{table}@"


def send(channel: socket.socket, kind: Kind, payload: bytes) -> None:
    """Send one frame. Raises OSError."""
    channel.sendall(_HEAD.pack(kind.value, len(payload)))
    channel.sendall(payload)


def say(channel: socket.socket, kind: Kind, message: msgspec.Struct) -> None:
    """Send one frame that holds a message."""
    send(channel, kind, msgspec.json.encode(message))


def receive(channel: socket.socket) -> tuple[Kind, bytes]:
    """Return the next frame. Raises EOFError at the end, ValueError for what is no frame, OSError."""
    head = _exactly(channel, _HEAD.size)
    kind, length = _HEAD.unpack(head)
    if length > MAX_FRAME_BYTES:
        raise ValueError(f"a frame of {length} bytes")
    return Kind(kind), bytes(_exactly(channel, length))


def send_descriptors(channel: socket.socket, descriptors: Sequence[int]) -> None:
    """Hand descriptors over; the caller's stay open."""
    for at in range(0, len(descriptors), DESCRIPTORS_A_MESSAGE):
        socket.send_fds(channel, [b"f"], list(descriptors[at : at + DESCRIPTORS_A_MESSAGE]))


def receive_descriptors(channel: socket.socket, count: int) -> list[int]:
    """Return `count` descriptors. Raises EOFError, also when the kernel dropped some for want of room."""
    found: list[int] = []
    while len(found) < count:
        data, some, flags, _ = socket.recv_fds(channel, 1, DESCRIPTORS_A_MESSAGE)
        if not data or not some or flags & socket.MSG_CTRUNC:
            raise EOFError("descriptors were lost")
        found += some
    return found


def _exactly(channel: socket.socket, count: int) -> bytearray:
    found = bytearray(count)
    view = memoryview(found)
    while view:
        got = channel.recv_into(view)
        if not got:
            raise EOFError("the other side is gone")
        view = view[got:]
    return found
