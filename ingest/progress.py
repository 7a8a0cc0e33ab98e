"""Telling how far long work is: a bar on a terminal, a JSON line every ten seconds elsewhere.

Imports rich and `catalog.cli.output`. Everything goes to standard error; standard output is for data.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol, TextIO

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, TaskID, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.progress import Progress as Bars

from catalog.cli.output import clean

LINE_EVERY_S = 10.0


class Progress(Protocol):
    """Hears of the work as it goes."""

    def disk(self, label: str, total_bytes: int) -> None:
        """Hear that work on a disk begins."""

    def advance(self, done_bytes: int) -> None:
        """Hear that so many more bytes are done."""

    def lane(self, name: str) -> AbstractContextManager[Progress]:
        """Tell of the work on one of several things, at the same time as of others, for the length of a block."""


class Silent:
    """Says nothing."""

    @contextmanager
    def lane(self, name: str) -> Iterator[Progress]:
        """Say nothing of it either."""
        yield self

    def disk(self, label: str, total_bytes: int) -> None:
        """Ignore it."""

    def advance(self, done_bytes: int) -> None:
        """Ignore it."""


class Lines:
    """One JSON line every ten seconds; of several things at once, one of each."""

    def __init__(self, out: TextIO, monotonic: Callable[[], float], machine: str | None = None) -> None:
        self._out = out
        self._monotonic = monotonic
        self._last = monotonic()
        self._about = {"machine": machine} if machine else {}
        self._state: dict[str, object] = {}
        self._done = 0

    @contextmanager
    def lane(self, name: str) -> Iterator[Progress]:
        """Lines that say whom they are about."""
        yield Lines(self._out, self._monotonic, name)

    def disk(self, label: str, total_bytes: int) -> None:
        """Start counting anew."""
        self._state = {"message_type": "progress", **self._about, "disk": label, "total_bytes": total_bytes}
        self._done = 0

    def advance(self, done_bytes: int) -> None:
        """Count, and say so now and then."""
        self._done += done_bytes
        now = self._monotonic()
        if now - self._last >= LINE_EVERY_S:
            self._last = now
            self._out.write(json.dumps({**self._state, "done_bytes": self._done}) + "\n")
            self._out.flush()


class Bar:
    """A bar for each disk; of several things at once, one below the other."""

    def __init__(self, bars: Bars, machine: str | None = None) -> None:
        self._bars = bars
        self._about = f"{machine}: " if machine else ""
        self._task: TaskID | None = None

    @contextmanager
    def lane(self, name: str) -> Iterator[Progress]:
        """A bar of its own, which goes when the block ends."""
        bar = Bar(self._bars, name)
        try:
            yield bar
        finally:
            bar.close()

    def disk(self, label: str, total_bytes: int) -> None:
        """Show a new bar in place of the one before."""
        self.close()
        self._task = self._bars.add_task(escape(clean(f"{self._about}{label}")), total=total_bytes)

    def close(self) -> None:
        """Take the bar away."""
        if self._task is not None:
            self._bars.remove_task(self._task)
            self._task = None

    def advance(self, done_bytes: int) -> None:
        """Move the bar."""
        if self._task is not None:
            self._bars.advance(self._task, done_bytes)


@contextmanager
def shown(monotonic: Callable[[], float], *, quiet: bool = False) -> Iterator[Progress]:
    """Choose the form that suits standard error, and tidy it up afterwards."""
    if quiet:
        yield Silent()
    elif sys.stderr.isatty():
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
        )
        with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
            yield Bar(bars)
    else:
        yield Lines(sys.stderr, monotonic)
