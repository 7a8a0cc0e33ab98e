"""A simulated machine: its disks in their places, its checkpoints and reference points."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from uuid import uuid4

from tests.support.hyperv.disks import Disk


@dataclass
class Passthrough:
    """A disk that is a disk of the host."""

    path: str


@dataclass
class Unrealised:
    """A disk of a planned machine: the path that it will have, or had where it came from."""

    path: str


@dataclass
class Checkpoint:
    """A checkpoint: the file that it froze of each place, and the tracking identifier of each disk that has one."""

    id: str
    kind: str
    name: str
    created_at: datetime
    files: dict[str, str]
    rct: dict[str, str]
    notes: str = ""


@dataclass
class ReferencePoint:
    """A reference point: disk identities and their tracking identifiers, parallel unless a disk has none."""

    id: str
    disk_ids: list[str]
    rct_ids: list[str]


@dataclass
class Machine:
    """One machine at one node; `planned` is one that an import made and nobody realised yet.

    Its reference points have its disks' identities, or with `named_by_attachment` what WMI calls their attachments.
    """

    id: str
    name: str
    node: str
    folder: str
    version: str = "9.0"
    state: str = "running"
    notes: str = ""
    planned: bool = False
    connected: bool = True
    named_by_attachment: bool = False
    disks: dict[str, Disk | Passthrough | Unrealised] = field(default_factory=dict)
    checkpoints: list[Checkpoint] = field(default_factory=list)
    reference_points: list[ReferencePoint] = field(default_factory=list)

    @property
    def definition(self) -> str:
        """Where its configuration lies."""
        return f"{self.folder}\\Virtual Machines\\{self.id.upper()}.vmcx"

    def files(self) -> dict[str, Disk]:
        """Its disks that are files."""
        return {place: disk for place, disk in self.disks.items() if isinstance(disk, Disk)}

    def freeze(self, kind: str, name: str, now: datetime) -> Checkpoint:
        """Take a checkpoint of every disk that is a file of its own."""
        own = {place: disk for place, disk in self.files().items() if not disk.shared}
        rct = {place: disk.new_moment() for place, disk in own.items() if disk.tracked} if kind == "recovery" else {}
        files = {place: disk.freeze() for place, disk in own.items()}
        checkpoint = Checkpoint(str(uuid4()), kind, name, now, files, rct)
        self.checkpoints.append(checkpoint)
        return checkpoint

    def merge(self, checkpoint: Checkpoint) -> None:
        """Remove a checkpoint and the files that the guest wrote to since."""
        self.checkpoints.remove(checkpoint)
        for place, frozen in checkpoint.files.items():
            disk = self.disks[place]
            assert isinstance(disk, Disk)
            gone = disk.merge(frozen)
            for other in self.checkpoints:
                if other.files.get(place) == gone:
                    other.files[place] = frozen

    def convert(self, checkpoint: Checkpoint) -> ReferencePoint:
        """Put a reference point in a checkpoint's place. A disk that has no tracking is named, its identifier not."""
        ids = [
            f"Microsoft:{self.id.upper()}\\{place.replace('/', chr(92))}\\L"
            if self.named_by_attachment
            else disk.virtual_disk_id
            for place, disk in self.files().items()
            if place in checkpoint.files
        ]
        point = ReferencePoint(f"Microsoft:{str(uuid4()).upper()}", ids, list(checkpoint.rct.values()))
        self.merge(checkpoint)
        self.reference_points.append(point)
        return point

    def forget(self, point: ReferencePoint) -> None:
        """Remove a reference point, and with it what changed since."""
        self.reference_points.remove(point)
        for disk in self.files().values():
            for rct in point.rct_ids:
                disk.moments.pop(rct, None)
