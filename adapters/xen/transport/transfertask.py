"""The task by which a transfer's end is known. Imports `adapters.errors`, `adapters.xen.tasks` and this package only.

The handlers at a pool tell of failures in the task alone: a stream that ended may be a disk, or half of one.
"""

from __future__ import annotations

from contextlib import suppress
from types import TracebackType
from typing import Self

from adapters.errors import AdapterError, SourceInvalid
from adapters.xen.tasks import TaskWaiter
from adapters.xen.transport.access import Pool

_END_SECONDS = 600.0
"""How long the pool may take after the last byte: it detaches the disk first."""

_CAUSE_SECONDS = 10.0
_SILENCE_SECONDS = 30.0
_SAYS_NOTHING = ("task-timeout", "task-lost", "task-cancelled", "server-unreachable", "server-silent")


class TransferTask:
    """A task made for one transfer, `what` in words; destroyed with the block that it is used in."""

    def __init__(self, pool: Pool, what: str) -> None:
        self._pool = pool
        self._what = what
        made = pool.call("task.create", "holdfast transfer", what)
        if not isinstance(made, str):
            raise SourceInvalid(f"{what} failed", code="answer-unreadable", why="the pool made no task")
        self.reference = made
        self._over = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._over:
            for method in ("task.cancel", "task.destroy"):
                with suppress(AdapterError):  # the pool forgets it in the end
                    self._pool.call(method, self.reference)

    def succeed(self) -> None:
        """Wait for the end. Raises the AdapterError of a task that failed, was cancelled or is not known any more."""
        self._wait(_END_SECONDS)

    def cause(self, otherwise: AdapterError) -> AdapterError:
        """Why a transfer broke off: what the pool says of it, or `otherwise` if it says nothing soon."""
        try:
            self._wait(_CAUSE_SECONDS)
        except AdapterError as error:
            return otherwise if error.code in _SAYS_NOTHING else error
        return otherwise

    def _wait(self, seconds: float) -> None:
        self._over = True  # the waiter destroys it
        waiter = TaskWaiter(self._pool.call, event_seconds=_SILENCE_SECONDS, shown=self._pool.shown)
        waiter.result(self.reference, f"{self._what} failed", seconds=seconds)
