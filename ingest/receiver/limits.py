"""Bounds on what agents may do; everything that a peer decides has one. Imports nothing of ours."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Times in seconds. A run holds about 300 MiB of memory, a request two frames."""

    runs: int = 4
    """Runs at once; `runs_each` for one token."""
    runs_each: int = 2
    requests: int = 48
    """Requests under way at once; more are told to come again."""
    idle: float = 120.0
    """A run whose agent says nothing for so long is over."""
    answer: float = 900.0
    """A question that is not answered in this time ends its run, however busy its agent seems."""
    poll: float = 5.0
    """How long a poll for questions waits for one."""
    body: float = 120.0
    """How long the body of a request may take to arrive."""
    pace: float = 0.05
    """Least time between a frame that was taken and the question that takes its place.

    Hashing, looking up and compressing what came takes less: so the time of the next question does not tell whether
    the store had it already, from this machine or from another one.
    """
    settle: float = 1.0
    """Least time between the last frame and the outcome, for the same reason: storing what is new takes less."""
    kept: float = 900.0
    """How long the outcome of a run is kept for an agent that did not hear it."""
    kept_runs: int = 200
    joining: float = 30.0
    """How long a run that is told to end may take to."""
