"""The threads that wait: for the log's disk, for an identity provider, for SQL workers, for slow readers of streams.

Imports anyio only. They are apart from the few threads that work out answers (the framework's own pool): more of
those only take the interpreter from each other, and whoever waits must not keep one of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from anyio import CapacityLimiter, to_thread
from anyio.lowlevel import RunVar

T = TypeVar("T")

_waiting: RunVar[CapacityLimiter] = RunVar("waiting")


def bound_threads(*, answers: int, waiting: int) -> None:
    """Set how many of each kind there are, for this event loop."""
    to_thread.current_default_thread_limiter().total_tokens = answers
    _waiting.set(CapacityLimiter(waiting))


async def in_thread(work: Callable[..., T], *values: object) -> T:
    """Run work that may wait, in a thread."""
    return await to_thread.run_sync(work, *values, limiter=_waiting.get())
