"""Asking a host by a script and taking its answer for what it must be. Imports `adapters.errors` and this package.

An answer of another shape than agreed is the host's fault or our script's, never a fact: SourceInvalid. GUIDs are
brought to one spelling here, so that the rest compares them as they are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Protocol, TypeVar

import msgspec

from adapters.errors import (
    AdapterError,
    SourceConflict,
    SourceDenied,
    SourceInvalid,
    SourceLimit,
    SourceUnavailable,
)
from adapters.hyperv.facts import Started

T = TypeVar("T")

JOB_STARTED = 4096
_GUID = re.compile(r"\{?([0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12})\}?")


class Asked(Protocol):
    """A host that runs our scripts."""

    def run(self, script: str, arguments: Mapping[str, object]) -> Any:
        """Run one script of the package and return its JSON answer. Raises AdapterErrors."""


class _Answer(msgspec.Struct):
    """What a method of WMI returned; `affected` is what it made, when it ended at once."""

    return_value: int
    job: str | None = None
    affected: tuple[str, ...] = ()


def ask(host: Asked, script: str, shape: type[T], /, **arguments: object) -> T:
    """Run a script and return its answer as `shape`. Raises SourceInvalid for another, and what the runner raises."""
    return _shaped(script, host.run(script, arguments), shape)


def ask_all(host: Asked, script: str, shape: type[T], /, **arguments: object) -> T:
    """As `ask`, for a list in `items`: a script's answer is one object."""
    items = _shaped(script, host.run(script, arguments), dict[str, Any]).get("items")
    return _shaped(script, items, shape)


def start(host: Asked, script: str, what: str, /, **arguments: object) -> Started:
    """Run a script that calls a method with an effect; `what` says what did not happen when the method refuses."""
    answer = ask(host, script, _Answer, **arguments)
    if answer.return_value not in (0, JOB_STARTED):
        raise refused(answer.return_value, what)
    if answer.return_value == JOB_STARTED and answer.job is None:
        raise SourceInvalid(what, code="answer-malformed", why=f"{script} started a job and did not name it")
    return Started(answer.job if answer.return_value == JOB_STARTED else None, answer.affected)


def refused(value: int, what: str) -> AdapterError:
    """What to raise for a method's return value, or a job's error code."""
    kind, code, why = _VALUES.get(value, (SourceInvalid, "method-refused", "Hyper-V refused"))
    return kind(what, code=code, why=f"{why} ({value})")


def _shaped(script: str, answer: Any, shape: type[T]) -> T:
    try:
        return msgspec.convert(_spelled(answer), shape)
    except msgspec.ValidationError as error:
        raise SourceInvalid(
            f"Hyper-V answered {script} with something else than agreed", code="answer-malformed", why=str(error)
        ) from None


def _spelled(answer: Any) -> Any:
    if isinstance(answer, str):
        found = _GUID.fullmatch(answer)
        return found[1].lower() if found else answer
    if isinstance(answer, list):
        return [_spelled(value) for value in answer]
    if isinstance(answer, dict):
        return {key: _spelled(value) for key, value in answer.items()}
    return answer


_VALUES: dict[int, tuple[type[AdapterError], str, str]] = {
    1: (SourceInvalid, "method-unsupported", "the host does not support it"),
    2: (SourceInvalid, "method-failed", "it failed without a reason"),
    3: (SourceUnavailable, "method-timeout", "it took the host too long"),
    4: (SourceInvalid, "method-parameter", "the host takes a parameter for wrong"),
    5: (SourceConflict, "machine-busy", "the machine is in no state for it"),
    32768: (SourceInvalid, "method-failed", "it failed without a reason"),
    32769: (SourceDenied, "method-denied", "the user has no right to do it"),
    32770: (SourceInvalid, "method-unsupported", "the host does not support it"),
    32772: (SourceUnavailable, "method-timeout", "it took the host too long"),
    32773: (SourceInvalid, "method-parameter", "the host takes a parameter for wrong"),
    32774: (SourceConflict, "machine-busy", "it is in use"),
    32775: (SourceConflict, "machine-busy", "the machine is in no state for it"),
    32777: (SourceUnavailable, "system-unavailable", "the system is not available"),
    32778: (SourceLimit, "host-memory", "the host is out of memory"),
    32779: (SourceConflict, "file-unavailable", "the host does not find a file, or somebody uses it"),
}
"""What the return values of the classes of `root\\virtualization\\v2` mean; small ones are of the CIM classes."""
