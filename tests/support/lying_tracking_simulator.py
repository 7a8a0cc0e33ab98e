"""Simulator: a source whose change tracking leaves something out, as defects of hypervisors have.

Wraps a real source; all bytes are real. `lie` says which changed extents to keep silent about.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from adapters.port import (
    Consistency,
    DiskSnapshot,
    Extent,
    MachineFact,
    Snapshot,
    SnapshotRequest,
    Source,
    Tracked,
    Untracked,
)


@dataclass
class LyingDisk:
    """A frozen disk that claims to be tracked, and tells the truth about `told` extents only."""

    inner: DiskSnapshot
    told: list[Extent]
    base_token: str | None
    tracking: Tracked | Untracked

    choice = None

    @property
    def fact(self) -> Any:
        return replace(self.inner.fact, tracking="bitmap")

    def changes(self) -> Iterator[Extent]:
        yield from self.told

    def open(self) -> Any:
        return self.inner.open()


@dataclass
class LyingSnapshot:
    """A snapshot of lying disks."""

    inner: Snapshot
    disks: Mapping[str, LyingDisk]
    label: str = field(init=False)
    consistency: str = field(init=False)
    fallback_cause: str | None = field(init=False)
    configuration = ()

    def __post_init__(self) -> None:
        self.label, self.consistency = self.inner.label, self.inner.consistency
        self.fallback_cause = self.inner.fallback_cause

    def confirm(self) -> None:
        self.inner.confirm()

    def release(self, *, committed: bool) -> None:
        self.inner.release(committed=committed)


class LyingTracking:
    """A source over another that pretends to have bitmaps; `told` gives what it admits to have changed."""

    kind = "lying"
    consistency: Consistency = "crash"

    def __init__(self, inner: Source, told: Callable[[], list[Extent]]) -> None:
        self._inner = inner
        self._told = told

    def check(self) -> Any:
        return self._inner.check()

    def inventory(self) -> list[MachineFact]:
        return [
            replace(machine, disks=tuple(replace(disk, tracking="bitmap") for disk in machine.disks))
            for machine in self._inner.inventory()
        ]

    def snapshot(self, machine: MachineFact, request: SnapshotRequest) -> Any:
        inner = self._inner.snapshot(machine, replace(request, bases=dict.fromkeys(request.bases)))
        disks = {
            key: LyingDisk(
                disk, self._told(), "token", Untracked("no-base") if request.bases[key] is None else Tracked()
            )
            for key, disk in inner.disks.items()
        }
        return LyingSnapshot(inner, disks)

    def reconcile(self, machine: MachineFact, keep: Mapping[str, str]) -> Any:
        return self._inner.reconcile(machine, keep)

    def close(self) -> None:
        self._inner.close()
