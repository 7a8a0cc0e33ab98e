"""A machine and an array in memory, which fail or die at a chosen call, before or after they acted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from adapters.errors import SourceConflict, SourceUnavailable
from adapters.vmware.transport.array.port import Presented
from adapters.vmware.transport.san import LocalLun


class Died(BaseException):
    """Our process is gone."""


class Site:
    """What exists: snapshots of the machine, snapshots and clones at the array. Calls are counted and may go wrong.

    `fail_at` (from 1) is the call that raises, `acted` whether it did its work before; `dies` makes that call, and all
    later ones, the end of our process.
    """

    def __init__(self, fail_at: int = 0, *, acted: bool = False, dies: bool = False) -> None:
        self.machine: set[str] = set()
        self.snapshots: set[str] = set()
        self.clones: set[str] = set()
        self.calls: list[str] = []
        self._fail_at = fail_at
        self._acted = acted
        self._dies = dies

    def revive(self) -> None:
        """Start a new process."""
        self._fail_at = 0

    def call(self, name: str, act: Callable[[], None]) -> None:
        """Run one step."""
        self.calls.append(name)
        at = len(self.calls)
        if self._fail_at and self._dies and at > self._fail_at:
            raise Died
        if at != self._fail_at:
            act()
            return
        if self._acted:
            act()
        raise Died if self._dies else SourceUnavailable(f"{name} failed", code="on-request")

    @property
    def empty(self) -> bool:
        """Nothing of ours is anywhere."""
        return not (self.machine or self.snapshots or self.clones)


class Machine:
    """The machine's own snapshots."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def take(self, label: str) -> None:
        self._site.call("take", lambda: self._site.machine.add(label))

    def drop(self, label: str) -> None:
        self._site.call("drop", lambda: self._site.machine.discard(label))


class MemoryArray:
    """An array driver."""

    name = "memory"

    def __init__(self, site: Site) -> None:
        self._site = site

    def snapshot(self, volume: str, label: str) -> None:
        self._site.call("snapshot", lambda: self._site.snapshots.add(label))

    def present(self, volume: str, label: str) -> Presented:
        self._site.call("present", lambda: self._site.clones.add(label))
        return Presented(LocalLun(Path(volume)))

    def withdraw(self, label: str) -> None:
        self._site.call("withdraw", lambda: self._site.clones.discard(label))

    def remove(self, label: str) -> None:
        if label in self._site.clones:
            raise SourceConflict("it has a clone", code="array-in-use")
        self._site.call("remove", lambda: self._site.snapshots.discard(label))

    def labels(self) -> Sequence[str]:
        return sorted(self._site.snapshots | self._site.clones)
