"""Agents in processes of their own that start at once, and die by kill -9: at any time, or at a file they make durable.

Each is forked from a server that has everything loaded. A moment is the n-th rename in the agent's state, before it or
after it: all notes and digests come into being by one.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ingest.agent.backup import AgentBackup, send
from ingest.agent.connection import Receiver
from ingest.agent.hooks import Hooks
from ingest.progress import Silent

SPAWNING = multiprocessing.get_context("forkserver")
SPAWNING.set_forkserver_preload([__name__])


@dataclass(frozen=True, slots=True)
class Moment:
    """When to die: at rename `number`, from 1, with it undone or done."""

    number: int
    done: bool


@dataclass(frozen=True, slots=True)
class AgentOrder:
    """What an agent process shall do."""

    url: str
    ca_file: Path
    token: str
    name: str
    device: Path
    state: Path
    hooks: Mapping[str, Any] = field(default_factory=dict)
    die: Moment | None = None


def start_agent(order: AgentOrder) -> Any:
    """A started process; its exit code is 0 when there was an outcome."""
    process = SPAWNING.Process(target=_agent, args=(order,))
    process.start()
    return process


def exit_code(process: Any) -> int:
    """How a process ended; fails when it does not."""
    process.join(120)
    code = process.exitcode
    assert code is not None, "the agent goes on"
    process.close()
    return int(code)


def _agent(order: AgentOrder) -> None:
    if order.die is not None:
        _arm(order.state, order.die)
    wish = AgentBackup(order.name, (order.device,), None, order.state, Hooks(**order.hooks))
    send(
        wish,
        Receiver(order.url, order.ca_file),
        order.token,
        progress=Silent(),
        stop=lambda: False,
        notice=lambda text: None,
        warn=lambda text: None,
    )


def _arm(state: Path, moment: Moment) -> None:
    real, count = os.rename, 0

    def rename(source: Any, target: Any) -> None:
        nonlocal count
        if not Path(target).is_relative_to(state):
            real(source, target)
            return
        count += 1
        if count == moment.number and not moment.done:
            os.kill(os.getpid(), signal.SIGKILL)
        real(source, target)
        if count == moment.number and moment.done:
            os.kill(os.getpid(), signal.SIGKILL)

    os.rename = rename
