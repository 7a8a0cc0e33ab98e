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
    """Requests under way at once, and `requests_each` of one token; more are told to come again.

    An agent has five under way at most.
    """
    requests_each: int = 16
    connections: int = 256
    """Connections at once, and `connections_each` from one address (from one /64 of IPv6); more are closed at once."""
    connections_each: int = 64
    handshake: float = 10.0
    """How long TLS may take to begin."""
    head: float = 10.0
    """How long the head of a request may take to arrive, and how long a new connection may wait to send one."""
    linger: float = 10.0
    """How long a connection stays when its request was refused: for the rest of its body, or for another attempt."""
    keep_alive: float = 75.0
    """How long the connection of a good token may rest between two requests."""
    idle: float = 120.0
    """A run whose agent says nothing for so long is over."""
    answer: float = 900.0
    """A question that is not answered in this time ends its run, however busy its agent seems."""
    poll: float = 5.0
    """How long a poll for questions waits for one."""
    body: float = 120.0
    """How long the body of a request may take to arrive, and the answer to be taken."""
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
