"""The knobs of the WinRM simulator: what it does wrong, and when.

Operations are named as in WS-Management: Create, Command, Send, Receive, Signal, Delete.
"""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock

OPERATION_TIMEOUT = 2150858793
SHELL_NOT_FOUND = 2150858843
QUOTA_OPERATIONS = 2150859174
QUOTA_SHELLS = 2150859173
ACCESS_DENIED = 5


@dataclass(frozen=True)
class Fault:
    """Answer with a SOAP fault of this code, and do nothing."""

    code: int


@dataclass(frozen=True)
class CutBefore:
    """Close the connection without doing what was asked."""


@dataclass(frozen=True)
class CutAfter:
    """Do what was asked, then close the connection without a word."""


@dataclass(frozen=True)
class StaySilent:
    """Take the message, do nothing, and never answer."""


@dataclass(frozen=True)
class Status:
    """Answer with an HTTP status and a page, as a proxy or another service does."""

    status: int
    page: bytes = b"<html>nothing here</html>"
    location: str | None = None


Action = Fault | CutBefore | CutAfter | StaySilent | Status


class Faults:
    """What is wrong with the host now; set the attributes, or `add` an action for the next messages.

    - `max_shells`: a Create above it is a quota fault.
    - `progress`: every command writes progress records (CLIXML) to its stderr.
    - `noise`: written before what a script answers; `garbage`: written in its place.
    - `oversize`: so many bytes are written in the place of an answer.
    - `truncate`: the last bytes of an answer are missing.
    - `hang`: scripts of these names answer when they are told to terminate, and not before.
    - `plain_answers`: answers are not encrypted, though the question was.
    - `denied`: no credentials are good enough.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._actions: dict[str, list[tuple[int, Action]]] = {}
        self.max_shells = 30
        self.progress = False
        self.noise = b""
        self.garbage: bytes | None = None
        self.oversize = 0
        self.truncate = 0
        self.hang: set[str] = set()
        self.plain_answers = False
        self.denied = False

    def add(self, operation: str, action: Action, *, times: int = 1, after: int = 0) -> None:
        """Do `action` at the next `times` messages of `operation`, `after` so many have passed."""
        with self._lock:
            queue = self._actions.setdefault(operation, [])
            if after:
                queue.append((after, Status(0)))
            queue.append((times, action))

    def take(self, operation: str) -> Action | None:
        """What to do at this message."""
        with self._lock:
            queue = self._actions.get(operation, [])
            if not queue:
                return None
            times, action = queue.pop(0)
            if times > 1:
                queue.insert(0, (times - 1, action))
            return None if action == Status(0) else action
