"""Blocking work done for many requests at once. Imports `catalog.api.pool`.

A hop to a thread and back costs more than much of what is done there, and a commit of the log a disk sync: under
load one run serves all who came while the last one ran. Alone a request waits for nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from catalog.api.pool import in_thread

A = TypeVar("A")
R = TypeVar("R")


class Batched(Generic[A, R]):
    """Runs `work` in a thread, one run at a time, over the items that came before it began. For one event loop.

    `work` returns a result for each item, in their order; a result that is an exception is raised where its item came
    from, and what `work` raises itself everywhere.
    """

    def __init__(self, work: Callable[[Sequence[A]], Sequence[R | Exception]]) -> None:
        self._work = work
        self._waiting: list[tuple[A, asyncio.Future[R]]] = []
        self._running: asyncio.Task[None] | None = None

    async def __call__(self, item: A) -> R:
        """Return the item's result, of a run that began after this call."""
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._running is None:
            # A task of its own: whoever asked first may go before the others are served.
            self._running = asyncio.create_task(self._run())
        return await future

    async def _run(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                for (_, future), result in zip(batch, await self._results(batch), strict=True):
                    if future.done():
                        continue  # Its request is gone.
                    if isinstance(result, Exception):
                        future.set_exception(result)
                    else:
                        future.set_result(result)
        finally:
            self._running = None

    async def _results(self, batch: list[tuple[A, asyncio.Future[R]]]) -> Sequence[R | Exception]:
        try:
            return await in_thread(self._work, [item for item, _ in batch])
        except Exception as error:  # noqa: BLE001 - it is raised again by each who waits
            return [error] * len(batch)
