"""The knobs of the simulator: what it does wrong, and when.

Calls are named as published (`VM.snapshot`, which means `Async.VM.snapshot`, too), requests for files by their methods
and places (`GET /export_raw_vdi`); `*` is any of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from threading import Event, Lock
from typing import TypeVar

from tests.support.xapi.published import XapiFailure

T = TypeVar("T")


@dataclass(frozen=True)
class LoseReply:
    """Do what was asked, or with `before` do not, then close the connection without a word."""

    before: bool = False


@dataclass(frozen=True)
class StaySilent:
    """Take the call, do nothing, and never answer."""


@dataclass(frozen=True)
class Fail:
    """Answer with a failure."""

    name: str
    parameters: tuple[str, ...] = ()

    def failure(self) -> XapiFailure:
        return XapiFailure(self.name, *self.parameters)


@dataclass(frozen=True)
class Garbage:
    """Do what was asked and answer with these bytes."""

    body: bytes
    status: int = 200


@dataclass(frozen=True)
class CutReply:
    """Do what was asked, answer the first half of what there is to say, and close the connection."""


@dataclass(frozen=True)
class ExpireSessions:
    """End all sessions before the call is looked at."""


@dataclass(frozen=True)
class Meanwhile:
    """Let something else happen before the call is looked at."""

    happens: Callable[[], None]


@dataclass(frozen=True)
class StallTask:
    """Leave the call's task pending until it is cancelled."""


@dataclass(frozen=True)
class HoldTask:
    """Let the call's task, that is its effect, wait until something happens."""

    until: Event


@dataclass(frozen=True)
class ForgetTask:
    """Do what was asked, and lose the call's task, as a host does that restarts."""


@dataclass(frozen=True)
class FailTask:
    """Let the call's task fail, with no effect."""

    name: str
    parameters: tuple[str, ...] = ()


@dataclass(frozen=True)
class CutStream:
    """End a stream after so many bytes, with the connection, though the status said 200."""

    after_bytes: int


Action = (
    LoseReply
    | StaySilent
    | Fail
    | Garbage
    | CutReply
    | CutStream
    | ExpireSessions
    | Meanwhile
    | StallTask
    | HoldTask
    | ForgetTask
    | FailTask
)


@dataclass
class _Rule:
    call: str
    action: Action
    after: int
    times: int


class Faults:
    """What is to go wrong; nothing does unless told."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._rules: list[_Rule] = []

    def on(self, call: str, action: Action, *, after: int = 0, times: int = 1) -> None:
        """Do `action` on `times` calls of that name, once `after` of them passed."""
        with self._lock:
            self._rules.append(_Rule(call, action, after, times))

    def take(self, call: str, *kinds: type[T]) -> T | None:
        """What is to go wrong with this call, of some kinds; each rule counts the calls it is asked about."""
        with self._lock:
            for rule in self._rules:
                if rule.call not in (call, "*") or not isinstance(rule.action, kinds) or rule.times == 0:
                    continue
                if rule.after:
                    rule.after -= 1
                    continue
                rule.times -= 1
                return rule.action
        return None

    def clear(self) -> None:
        """Let everything go right again."""
        with self._lock:
            self._rules.clear()
