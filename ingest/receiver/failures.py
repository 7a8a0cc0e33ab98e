"""Failures across the wire: what an agent says becomes an AdapterError, what a run met becomes words for the agent.

Imports `adapters.errors`, `ingest.agent.protocol` and `storage.errors`. An agent's words are bounded and printable.
What happened at the receiver is told by its kind and code alone: its text could name paths, packs or other machines.
"""

from __future__ import annotations

from typing import cast

from adapters.errors import KINDS, AdapterError
from ingest.agent.protocol import Failed, Kind, RunFailed
from storage.errors import HoldfastError


def failure_of(said: Failed) -> AdapterError:
    """What an agent says went wrong on its side."""
    return KINDS[said.kind](printable(said.what), code=said.code, why=printable(said.why), hint=printable(said.hint))


def printable(text: str) -> str:
    """A text of an agent without what could steer a terminal."""
    return "".join(letter if letter.isprintable() else "�" for letter in text)


def told(error: Exception) -> RunFailed:
    """What the agent is told of a run's end: its own words back, ours by kind and code only."""
    if isinstance(error, AdapterError):
        return RunFailed(kind=cast(Kind, error.kind), code=error.code, what=error.what, why=error.why, hint=error.hint)
    if isinstance(error, HoldfastError):
        return RunFailed(
            kind=error.kind,
            code=error.code,
            what="the receiver could not finish the backup",
            why="",
            hint="the receiver's log says more",
        )
    return RunFailed(
        kind="unavailable",
        code="agent-run-ended",
        what="the receiver ended the backup",
        why="",
        hint="run the agent again; what was stored is kept",
    )
