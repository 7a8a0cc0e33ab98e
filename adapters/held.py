"""What an open snapshot holds of this process: readers, the claim on its machine, a place in its source's list.

Imports `adapters.busy`, `adapters.frozendisk` and `adapters.port`. What it holds at the source each adapter gives back
itself; whatever of that fails, `reconcile` finds, and the machine is free for the next job all the same.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Generic, TypeVar

from adapters.busy import Claim
from adapters.frozendisk import FrozenDisk
from adapters.port import ConfigurationFile, Consistency


@dataclass(frozen=True, slots=True)
class Hold:
    """`claim` keeps this process's other jobs from the machine; `forget` takes the snapshot off its source's list."""

    claim: Claim
    forget: Callable[[], None]


class HeldSnapshot(ABC):
    """All requested disks at one moment, until the release."""

    def __init__(
        self,
        label: str,
        consistency: Consistency,
        fallback_cause: str | None,
        disks: Mapping[str, FrozenDisk],
        configuration: Sequence[ConfigurationFile],
        hold: Hold,
    ) -> None:
        self.label = label
        self.consistency: Consistency = consistency
        self.fallback_cause = fallback_cause
        self.disks: Mapping[str, FrozenDisk] = disks
        self.configuration = configuration
        self._hold = hold
        self._released = False

    @abstractmethod
    def confirm(self) -> None:
        """Raise SourceConflict when the snapshot did not hold while it was read."""

    @abstractmethod
    def _give_back(self, *, committed: bool) -> None:
        """Give back what is held at the source."""

    def release(self, *, committed: bool) -> None:
        """Close all readers, give everything back at the source, then let the next job have the machine."""
        if self._released:
            return
        self._released = True
        with ExitStack() as stack:
            stack.callback(self._hold.claim.give_back)
            stack.callback(self._give_back, committed=committed)
            stack.callback(self._let_go)

    def abandon(self) -> None:
        """Close all readers and let the machine go, the rest being left to `reconcile`; harmless afterwards."""
        with ExitStack() as stack:
            if not self._released:
                self._released = True
                stack.callback(self._hold.claim.give_back)
            stack.callback(self._let_go)

    def _let_go(self) -> None:
        with ExitStack() as stack:
            stack.callback(self._hold.forget)
            for disk in self.disks.values():
                stack.callback(disk.shut)


Held = TypeVar("Held", bound=HeldSnapshot)


class OpenSnapshots(Generic[Held]):
    """The snapshots of a source that are not given back yet."""

    def __init__(self) -> None:
        self._open: set[Held] = set()

    def take(self, claim: Claim, freeze: Callable[[Hold], Held]) -> Held:
        """Keep what `freeze` makes until it is let go; when that fails, the machine is free again."""
        made: list[Held] = []
        try:
            made.append(freeze(Hold(claim, lambda: self._open.difference_update(made))))
        except BaseException:
            claim.give_back()
            raise
        self._open.update(made)
        return made[0]

    def abandon(self) -> None:
        """Let go of all, which are left to `reconcile`."""
        with ExitStack() as stack:
            for snapshot in list(self._open):
                stack.callback(snapshot.abandon)
