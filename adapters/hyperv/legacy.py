"""Hosts before Windows Server 2016: the disks are read from shadow copies (VSS) of the host's volumes.

Imports the shared modules of `adapters` and this package. Such hosts track no changes: all is read, and compared with
the digests of the last point. The shadow copies are made by the host's own tool with its Hyper-V writer, which does not
say whether a guest came to rest: they count as crash consistent. Volumes without a letter, such as those of a cluster,
and file shares are none that this host has shadow copies of.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress

from adapters.areas import AreaList
from adapters.errors import AdapterError, SourceConflict, SourceInvalid, SourceNotFound, SourceUnavailable
from adapters.held import HeldSnapshot, Hold
from adapters.hyperv.asking import Asked, ask, ask_all
from adapters.hyperv.configuration import configuration_files
from adapters.hyperv.inventory import Found
from adapters.hyperv.marks import MARK, checkpoint_name
from adapters.hyperv.places import MachinePlaces
from adapters.hyperv.reading import SharedDisk
from adapters.hyperv.snapshot import Frozen, HypervDisk
from adapters.port import ConfigurationFile, Leftover, SnapshotRequest, Untracked
from adapters.requests import require_disks

_FOLDER = "C:\\ProgramData\\Holdfast"
_DRIVE = re.compile(r"([A-Za-z]):\\(?!ClusterStorage\\)(.+)", re.IGNORECASE | re.DOTALL)


class Shadows:
    """Shadow copies of ours at one host, of one machine: each is a folder with one of its drives in each folder."""

    def __init__(self, host: Asked, machine_id: str) -> None:
        self._host = host
        self._machine_id = machine_id

    def name(self, label: str) -> str:
        """What the shadow copies of a run are called."""
        return f"{checkpoint_name(label)}-{self._machine_id}"

    def all(self) -> list[str]:
        """Those that runs of ours made for the machine."""
        found = ask_all(self._host, "shadows", tuple[str, ...])
        return sorted(name for name in found if name.startswith(MARK) and name.endswith(f"-{self._machine_id}"))

    def create(self, name: str, letters: Sequence[str]) -> None:
        """Take shadow copies of drives, all at one moment."""
        ask(self._host, "create-shadow", dict[str, bool], name=name, letters=list(letters))

    def destroy(self, name: str) -> None:
        """Remove them and see that they are gone."""
        problem: AdapterError | None = None
        try:
            ask(self._host, "destroy-shadow", dict[str, str], name=name)
        except (SourceNotFound, SourceUnavailable) as lost:
            problem = lost
        if name in self.all():
            raise problem or SourceConflict("A shadow copy was not removed", code="shadow-remains", why=name)


class LegacySnapshot(HeldSnapshot):
    """All requested disks, in shadow copies of one moment."""

    def __init__(
        self,
        shadows: Shadows,
        label: str,
        disks: Mapping[str, HypervDisk],
        configuration: Sequence[ConfigurationFile],
        hold: Hold,
    ) -> None:
        super().__init__(label, "crash", None, disks, configuration, hold)
        self._shadows = shadows

    def confirm(self) -> None:
        """Raise SourceConflict when the host gave the shadow copies up, as it does for want of room."""
        if self._shadows.name(self.label) not in self._shadows.all():
            raise SourceConflict("The shadow copies did not hold", code="snapshot-lost", why="the host removed them")

    def _give_back(self, *, committed: bool) -> None:
        """Remove the shadow copies, whatever the outcome."""
        self._shadows.destroy(self._shadows.name(self.label))


def take(
    shadows: Shadows,
    places: MachinePlaces,
    found: Found,
    request: SnapshotRequest,
    hold: Hold,
) -> LegacySnapshot:
    """Take shadow copies of the drives that the requested disks and their parents are on."""
    name = shadows.name(request.label)
    require_disks(found.machine.name, (disk.fact for disk in found.disks), request)
    wanted = [
        Frozen(disk.fact, disk.attached.place, disk.header)
        for disk in found.disks
        if disk.fact.key in request.bases and disk.header is not None
    ]
    try:
        shadows.create(name, _letters(places, wanted))
        frozen = places.moved(lambda path: _shadow_path(name, path))
        disks = {disk.fact.key: _disk(disk, frozen) for disk in wanted}
        return LegacySnapshot(shadows, request.label, disks, configuration_files(found.machine, wanted, places), hold)
    except BaseException:
        with suppress(AdapterError):
            if name in shadows.all():
                shadows.destroy(name)
        raise


def clean(shadows: Shadows) -> Sequence[Leftover]:
    """Remove what earlier runs left of the machine."""
    cleaned = []
    for name in shadows.all():
        shadows.destroy(name)
        cleaned.append(Leftover(f"shadow copies {name}", "removed"))
    return cleaned


def _disk(disk: Frozen, places: MachinePlaces) -> HypervDisk:
    shared = SharedDisk(
        lambda: places.open_disk(disk.file.path),
        label=disk.fact.label,
        identity=disk.file.virtual_disk_id,
        size_bytes=disk.file.size_bytes,
    )
    return HypervDisk(disk, Untracked("compare"), AreaList(), shared)


def _letters(places: MachinePlaces, disks: Sequence[Frozen]) -> list[str]:
    paths = {path for disk in disks for path in (disk.file.path, *places.parents(disk.file.path).values())}
    return sorted({_on_drive(path)[1].upper() for path in paths})


def _shadow_path(name: str, path: str) -> str:
    drive = _on_drive(path)
    return f"{_FOLDER}\\{name}\\{drive[1].upper()}\\{drive[2]}"


def _on_drive(path: str) -> re.Match[str]:
    drive = _DRIVE.fullmatch(path)
    if drive is None:
        raise SourceInvalid(
            f"{path} is on no drive that the host has shadow copies of",
            code="legacy-volume",
            why="hosts before Windows Server 2016 are read from shadow copies of drives with letters",
            hint="Back the machine up from inside the guest with the agent.",
        )
    return drive
