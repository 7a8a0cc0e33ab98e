"""Work that is done for many requests at once: each gets its own result, of a run that began after it asked."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence

import pytest

from catalog.api.batching import Batched
from catalog.api.pool import bound_threads


def run(work: Callable[[], Awaitable[None]]) -> None:
    """Run a test in an event loop of its own, with threads."""

    async def whole() -> None:
        bound_threads(answers=1, waiting=4)
        await work()

    asyncio.run(whole())


class Gated:
    """Work that waits until it is let go, and keeps what it was given."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.begun = threading.Semaphore(0)
        self.go = threading.Semaphore(0)

    def __call__(self, items: Sequence[int]) -> list[int | Exception]:
        self.batches.append(list(items))
        self.begun.release()
        assert self.go.acquire(timeout=30)
        return [ValueError(str(item)) if item < 0 else item * 10 for item in items]

    async def has_begun(self) -> None:
        assert await asyncio.to_thread(self.begun.acquire, timeout=30)


def test_what_comes_during_a_run_shares_the_next() -> None:
    """A run takes all that waits, never what came after it began, and results go where their items came from."""
    work = Gated()

    async def whole() -> None:
        batched: Batched[int, int] = Batched(work)
        first = asyncio.create_task(batched(1))
        await work.has_begun()
        others = [asyncio.create_task(batched(number)) for number in range(2, 9)]
        await asyncio.sleep(0)
        work.go.release()
        await work.has_begun()
        assert not any(other.done() for other in others)
        work.go.release()
        assert await asyncio.gather(first, *others) == [number * 10 for number in range(1, 9)]

    run(whole)
    assert work.batches == [[1], [2, 3, 4, 5, 6, 7, 8]]


def test_a_failure_is_its_items_own() -> None:
    """An exception in a result's place is raised there and nowhere else."""
    work = Gated()

    async def whole() -> None:
        batched: Batched[int, int] = Batched(work)
        first = asyncio.create_task(batched(1))
        await work.has_begun()
        bad, good = asyncio.create_task(batched(-2)), asyncio.create_task(batched(3))
        await asyncio.sleep(0)
        work.go.release(2)
        with pytest.raises(ValueError, match="-2"):
            await bad
        assert (await first, await good) == (10, 30)

    run(whole)


def test_work_that_fails_fails_all_and_the_next_run_works() -> None:
    """What the work itself raises reaches everybody of its run, and nobody later."""
    failures = [OSError("once")]

    def work(items: Sequence[int]) -> Sequence[int]:
        if failures:
            raise failures.pop()
        return items

    async def whole() -> None:
        batched: Batched[int, int] = Batched(work)
        with pytest.raises(OSError, match="once"):
            await batched(1)
        assert await batched(2) == 2

    run(whole)


def test_who_goes_away_takes_nobody_along() -> None:
    """A request that is cancelled while it waits, even the one that began the run, leaves the others theirs."""
    work = Gated()

    async def whole() -> None:
        batched: Batched[int, int] = Batched(work)
        first = asyncio.create_task(batched(1))
        await work.has_begun()
        second, third = asyncio.create_task(batched(2)), asyncio.create_task(batched(3))
        await asyncio.sleep(0)
        first.cancel()
        second.cancel()
        work.go.release(2)
        assert await third == 30
        assert await asyncio.gather(first, second, return_exceptions=True) != [10, 20]

    run(whole)
