"""Bringing the guest's file systems to rest around one moment, through QEMU's guest agent.

Imports `adapters.errors` only. Every wait has an end. A note on disk says that we froze the guest, from
before the freeze until after the thaw, so that a later process can thaw what a killed one left frozen.
Specification: QEMU's guest agent protocol reference; every command is preceded by guest-sync-delimited,
which drops answers that come late.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from adapters.errors import AdapterError, SourceInvalid, SourceUnavailable

STATUS_SECONDS = 5.0
FREEZE_SECONDS = 10.0
THAW_SECONDS = 30.0
_MAX_ANSWER_BYTES = 1 << 16


class _Error(msgspec.Struct):
    desc: str = ""


class _Answer(msgspec.Struct):
    value: object = msgspec.field(name="return", default=None)
    error: _Error | None = None


def at_rest(agent: Path, note: Path, moment: Callable[[], None]) -> str | None:
    """Run `moment` while the guest is frozen; return why it was not, or None.

    `moment` runs in any case. Raises SourceUnavailable when the guest may still be frozen afterwards.
    """
    try:
        frozen_by_others = ask(agent, "guest-fsfreeze-status", STATUS_SECONDS) != "thawed"
    except AdapterError as error:
        moment()
        return error.code
    if frozen_by_others:
        moment()
        return "guest-frozen-by-others"
    note.touch()
    try:
        cause = _freeze(agent)
        moment()
        return cause or _still_frozen(agent)
    finally:
        thaw(agent, note)


def thaw(agent: Path, note: Path) -> None:
    """Thaw the guest and drop the note. Raises SourceUnavailable when the agent does not confirm it."""
    try:
        ask(agent, "guest-fsfreeze-thaw", THAW_SECONDS)
    except AdapterError as error:
        raise SourceUnavailable(
            "The guest may still be frozen",
            code="guest-thaw-failed",
            why=str(error),
            hint="Run guest-fsfreeze-thaw through the guest agent, or fsfreeze -u inside the guest.",
        ) from None
    note.unlink(missing_ok=True)


def _freeze(agent: Path) -> str | None:
    try:
        ask(agent, "guest-fsfreeze-freeze", FREEZE_SECONDS)
    except AdapterError:
        return "guest-freeze-failed"
    return None


def _still_frozen(agent: Path) -> str | None:
    """A guest may thaw by itself when it was frozen too long (VSS: ten seconds)."""
    try:
        return None if ask(agent, "guest-fsfreeze-status", STATUS_SECONDS) == "frozen" else "guest-thawed-early"
    except AdapterError:
        return "guest-thawed-early"


def ask(agent: Path, command: str, seconds: float) -> object:
    """Run one command in the guest, on a connection of its own, within `seconds` in all.

    Raises SourceUnavailable when nothing answers in time, SourceInvalid when the agent refuses or talks nonsense.
    """
    number = time.monotonic_ns() % (1 << 31)
    sync = {"execute": "guest-sync-delimited", "arguments": {"id": number}}
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            lines = _Lines(connection, time.monotonic() + seconds)
            connection.connect(str(agent))
            connection.sendall(b"\xff" + msgspec.json.encode(sync) + b"\n")
            while not _is_sync(lines.next(), number):
                pass
            connection.sendall(msgspec.json.encode({"execute": command}) + b"\n")
            answer = msgspec.json.decode(lines.next(), type=_Answer)
    except OSError as error:
        raise SourceUnavailable(
            "The guest agent does not answer", code="guest-agent-silent", why=f"{command}: {error}"
        ) from None
    except msgspec.MsgspecError as error:
        raise SourceInvalid("The guest agent talks nonsense", code="guest-agent-protocol", why=str(error)) from None
    if answer.error is not None:
        raise SourceInvalid(f"The guest agent refused {command}", code="guest-agent-refused", why=answer.error.desc)
    return answer.value


def _is_sync(line: bytes, number: int) -> bool:
    """Whether the line is the delimited answer to our sync; older answers may stand before its delimiter."""
    _, delimiter, answer = line.rpartition(b"\xff")
    try:
        return bool(delimiter) and msgspec.json.decode(answer, type=_Answer).value == number
    except msgspec.MsgspecError:
        return False


class _Lines:
    """Lines from the guest, which is not trusted: bounded in length, and all of them by one deadline."""

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        self._connection = connection
        self._deadline = deadline
        self._received = b""
        self._wait_no_longer()

    def next(self) -> bytes:
        """Return the next line. Raises OSError (a timeout too) when it does not come."""
        while (end := self._received.find(b"\n")) < 0:
            self._wait_no_longer()
            received = self._connection.recv(4096)
            self._received += received
            if not received or len(self._received) > _MAX_ANSWER_BYTES:
                raise ConnectionError("the line broke off or is too long")
        line, self._received = self._received[:end], self._received[end + 1 :]
        return line

    def _wait_no_longer(self) -> None:
        self._connection.settimeout(max(self._deadline - time.monotonic(), 0.001))
