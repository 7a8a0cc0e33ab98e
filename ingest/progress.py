"""Telling how far long work is: a bar on a terminal, a JSON line every ten seconds elsewhere.

Imports rich only. Everything goes to standard error; standard output is for data.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, TextIO

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, TaskID, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.progress import Progress as Bars

LINE_EVERY_S = 10.0


class Progress(Protocol):
    """Hears of the work as it goes."""

    def disk(self, label: str, total_bytes: int) -> None:
        """Hear that work on a disk begins."""

    def advance(self, done_bytes: int) -> None:
        """Hear that so many more bytes are done."""


class Silent:
    """Says nothing."""

    def disk(self, label: str, total_bytes: int) -> None:
        """Ignore it."""

    def advance(self, done_bytes: int) -> None:
        """Ignore it."""


class Lines:
    """One JSON line every ten seconds."""

    def __init__(self, out: TextIO, monotonic: Callable[[], float]) -> None:
        self._out = out
        self._monotonic = monotonic
        self._last = monotonic()
        self._state: dict[str, object] = {}
        self._done = 0

    def disk(self, label: str, total_bytes: int) -> None:
        """Start counting anew."""
        self._state = {"message_type": "progress", "disk": label, "total_bytes": total_bytes}
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
    """A bar for each disk."""

    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._task: TaskID | None = None

    def disk(self, label: str, total_bytes: int) -> None:
        """Show a new bar in place of the one before."""
        if self._task is not None:
            self._bars.remove_task(self._task)
        self._task = self._bars.add_task(label, total=total_bytes)

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
