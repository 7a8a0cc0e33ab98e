"""Reads as they are on the wire: requests of ours, and answers in plain. Pure; imports smbprotocol and this package.

By the library's own means, a request costs 1,200 function calls.
"""

from __future__ import annotations

import struct
from threading import Event, Lock
from typing import Any, NamedTuple

from smbprotocol.header import Commands, Smb2Flags

from adapters.hyperv.smb.faults import Tampered

CREDIT_BYTES = 1 << 16

_HEADER = struct.Struct("<4sHHLHHLLQLLQ")
_REQUEST = struct.Struct("<HBBLQ16sLLLHHB")
_ANSWER = struct.Struct("<HBxLLL")
_PLAIN_READ = (b"\xfeSMB", 0, Commands.SMB2_READ, 0)


class Head(NamedTuple):
    """What the header of a message says, but for its signature."""

    protocol: bytes
    size: int
    charge: int
    status: int
    command: int
    credits: int
    flags: int
    following: int
    number: int
    process: int
    tree: int
    session: int

    @classmethod
    def of(cls, message: bytes | bytearray) -> Head:
        """Read it. Raises struct.error when the message is shorter."""
        return cls._make(_HEADER.unpack_from(message))

    @property
    def is_read(self) -> bool:
        """Whether it is the one answer, a good one, to a read."""
        kind = (self.protocol, self.status, self.command, self.following)
        return kind == _PLAIN_READ and not self.flags & Smb2Flags.SMB2_FLAGS_ASYNC_COMMAND


class _Value(NamedTuple):
    value: int

    def get_value(self) -> int:
        """The value, as the library's fields return theirs."""
        return self.value


class ReadRequest:
    """A read under way, with all that the library looks at in a request."""

    def __init__(self, number: int, session_id: int) -> None:
        self.message = {"message_id": _Value(number), "command": _Value(Commands.SMB2_READ), "reserved": _Value(0)}
        self.session_id = session_id
        self.response: Any = None
        self.response_event = Event()
        self.response_event_lock = Lock()
        self.async_id: bytes | None = None
        self.related_ids: list[int] = []


class ReadAnswer:
    """The verified answer to a read; `data` is a view into it. Raises Tampered when it is malformed."""

    __slots__ = ("data",)

    def __init__(self, message: bytes | bytearray) -> None:
        size, offset, length, _, _ = _ANSWER.unpack_from(message, 64)
        if size != 17 or not 80 <= offset <= len(message) - length:
            raise Tampered("an answer to a read is malformed")
        self.data = memoryview(message)[offset : offset + length]


def credits_for(length: int) -> int:
    """How many credits a read of so many bytes costs."""
    return max(1, -(-length // CREDIT_BYTES))


def pack_read(head: Head, file_id: bytes, offset: int, length: int) -> bytes:
    """Return a request, with zeros for its signature; the least that is to be read is all of it, or up to the end."""
    return _HEADER.pack(*head) + bytes(16) + _REQUEST.pack(49, 80, 0, length, offset, file_id, 0, 0, 0, 0, 0, 0)
