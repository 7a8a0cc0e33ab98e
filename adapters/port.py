"""The one port between a hypervisor and the rest: facts out, and bytes behind one reader.

Imports nothing of ours but `adapters.errors`. Read this file first: `ingest/flow.py` is written against
it alone, and every adapter passes `tests/conformance/`. All offsets and lengths are bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

Tracking = Literal["bitmap", "cbt", "rct", "compare"]
"""How changes are learned: from the hypervisor, or (`compare`) by reading and comparing digests."""

Consistency = Literal["application", "filesystem", "crash"]


@dataclass(frozen=True, slots=True)
class Exclusion:
    """Why a disk cannot be protected by this source, and what its owner can do instead."""

    reason: str
    way_out: str


@dataclass(frozen=True, slots=True)
class DiskFact:
    """One virtual disk as the source shows it.

    `key` names the disk for ever within its machine; `identity` changes when another disk takes its place.
    """

    key: str
    label: str
    size_bytes: int
    identity: str
    tracking: Tracking
    granularity_bytes: int
    exclusion: Exclusion | None = None


@dataclass(frozen=True, slots=True)
class MachineFact:
    """One machine; `key` is the source's own stable identifier, `name` what people call it."""

    key: str
    name: str
    disks: tuple[DiskFact, ...]


@dataclass(frozen=True, slots=True)
class SourceFact:
    """What a source answered to a check: product and version, and what it can do, in words."""

    product: str
    version: str
    abilities: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Extent:
    """`length` bytes at `start`; `zero` says that they read as zeros."""

    start: int
    length: int
    zero: bool

    @property
    def end(self) -> int:
        """The first byte behind the extent."""
        return self.start + self.length


@dataclass(frozen=True, slots=True)
class Tracked:
    """The source can tell what changed since the base it was given."""


@dataclass(frozen=True, slots=True)
class Untracked:
    """The source cannot tell what changed; `cause` is a stable code such as `bitmap-inconsistent`."""

    cause: str


@dataclass(frozen=True, slots=True)
class SnapshotRequest:
    """`label` is our mark on everything created; `bases` maps disk keys to the base token of the last point.

    A disk key absent from `bases` is left out of the snapshot; a base of None asks for a full of that disk.
    """

    label: str
    bases: Mapping[str, str | None]
    consistency: Consistency = "crash"


@dataclass(frozen=True, slots=True)
class Leftover:
    """Something an earlier run left at the source, and what was done with it."""

    what: str
    action: str


@dataclass(frozen=True, slots=True)
class ConfigurationFile:
    """One file that a machine is described by at its source, such as `config.json` or `web.nvram`; names are unique."""

    name: str
    content: bytes


@dataclass(frozen=True, slots=True)
class RejectedTransport:
    """A way to the bytes that was not taken, and why."""

    kind: str
    why: str


@dataclass(frozen=True, slots=True)
class TransportChoice:
    """How a disk's bytes were to travel: the kind chosen, the only one allowed (if so), and what was not taken.

    What really carries them is the reader's `transport`; the flow records both.
    """

    kind: str
    requested: str | None
    rejected: tuple[RejectedTransport, ...]


class BlockReader(Protocol):
    """Random reads of one disk at one point in time. Safe to use from several threads."""

    size_bytes: int
    transport: str

    def extents(self) -> Iterator[Extent]:
        """Yield the whole disk in order, gapless; zero extents need not be read."""

    def pread_into(self, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` from `offset`, wholly or not at all (then an AdapterError)."""

    def close(self) -> None:
        """Release the connection; closing twice is harmless."""


class DiskSnapshot(Protocol):
    """One disk, frozen. `base_token` is what the next backup passes as base once this one is committed.

    It may be None until `Snapshot.confirm` returned, and does not change afterwards.
    """

    fact: DiskFact
    base_token: str | None
    tracking: Tracked | Untracked

    @property
    def choice(self) -> TransportChoice | None:
        """How the bytes are to travel, of an adapter that has a choice."""

    def changes(self) -> Iterator[Extent]:
        """Yield what changed since the base, in order and not overlapping; only when `tracking` is Tracked."""

    def open(self) -> BlockReader:
        """Open a reader of the frozen disk."""


class Snapshot(Protocol):
    """All disks of a machine at one moment."""

    label: str
    consistency: Consistency
    fallback_cause: str | None

    @property
    def disks(self) -> Mapping[str, DiskSnapshot]:
        """The frozen disks, by their keys."""

    @property
    def configuration(self) -> Sequence[ConfigurationFile]:
        """What the machine is made of, beside its disks; empty where the source does not tell."""

    def confirm(self) -> None:
        """Say that what was read was one moment; called after the last read and before the commit.

        From here on the disks' base tokens are known, and readers need not work any more. Raises SourceConflict or
        SourceLimit when the snapshot did not hold (file changed, scratch space full).
        """

    def release(self, *, committed: bool) -> None:
        """Give everything back; releasing twice is harmless.

        With `committed` the new base tokens stay valid; without, the bases of the last point do.
        """


class Source(Protocol):
    """A hypervisor, or a folder of images: where machines come from.

    Several threads may call it at once, each for another machine (`close` when they are done). Work on one machine is
    one thread's at a time; a second snapshot of it may be refused with SourceConflict.
    `consistency` is the best that its snapshots can have, and so what a backup asks for.
    """

    kind: str

    @property
    def consistency(self) -> Consistency:
        """Application, file system or crash consistency."""

    def check(self) -> SourceFact:
        """Answer what is there, or raise the AdapterError that a backup would meet."""

    def inventory(self) -> Sequence[MachineFact]:
        """List the machines with their disks, those that cannot be protected included."""

    def snapshot(self, machine: MachineFact, request: SnapshotRequest) -> Snapshot:
        """Freeze the requested disks of `machine` at one moment."""

    def reconcile(self, machine: MachineFact, keep: Mapping[str, str]) -> Sequence[Leftover]:
        """Remove what our earlier runs left on `machine`; `keep` maps disk keys to the base tokens in force.

        Only things with our own mark are touched. Tracking since a kept base stays complete.
        """

    def close(self) -> None:
        """Release connections; closing twice is harmless."""


class DiskImage(Protocol):
    """The content of one disk to give back. Safe to use from several threads."""

    size_bytes: int

    def extents(self) -> Iterator[Extent]:
        """Yield the whole disk in order, gapless; zero extents need not be read."""

    def pread_into(self, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` from `offset`, every byte verified, or raise."""


@dataclass(frozen=True, slots=True)
class MachineRestore:
    """A new machine to make: `disks` by their keys, `configuration` as its snapshot had it, `label` our mark."""

    name: str
    label: str
    configuration: tuple[ConfigurationFile, ...]
    disks: Mapping[str, DiskImage]


@dataclass(frozen=True, slots=True)
class RestoredMachine:
    """What was made: the source's key and name of it, and what could not be made as it was."""

    key: str
    name: str
    notes: tuple[str, ...]


class RestoringSource(Source, Protocol):
    """A source that can take machines back. `written` is told how many bytes went since it was called last.

    What fails on the way may be the image's or the caller's own: whatever it is, what was made is removed, or named in
    a note of the exception (`add_note`), and in the hint of an AdapterError.
    """

    def restore_machine(self, request: MachineRestore, written: Callable[[int], None]) -> RestoredMachine:
        """Make a new machine, powered off."""

    def require_overwritable(self, machine: MachineFact, disk_key: str) -> None:
        """Raise what `restore_disk` would before it has any effect: SourceConflict while the machine runs."""

    def restore_disk(
        self, machine: MachineFact, disk_key: str, image: DiskImage, label: str, written: Callable[[int], None]
    ) -> None:
        """Overwrite one disk of a powered-off machine in place. Raises SourceConflict while it runs."""


class TidyingSource(RestoringSource, Protocol):
    """A restoring source that knows what a restore made by its label, and whether that was ended."""

    def remove_unfinished(self, label: str, disks: int) -> Sequence[Leftover]:
        """Remove what `restore_machine` made of up to `disks` disks under `label` for a process that died over it.

        A machine that is whole, or that somebody uses, stays: its leftover says so. Raises what keeps the rest.
        """
