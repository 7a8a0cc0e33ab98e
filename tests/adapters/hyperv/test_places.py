"""Where a disk's files are, and what they say: the host is believed, the files' own words about each other are not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from adapters.errors import AdapterError, SourceCorrupt, SourceDenied, SourceNotFound, SourceUnavailable
from adapters.hyperv.facts import DiskFile
from adapters.hyperv.places import MachinePlaces
from adapters.virtualdisk.file import LocalFile
from tests.adapters.hyperv.conftest import SourceOf
from tests.adapters.hyperv.runs import freeze, read_point
from tests.support import vhdx_files, vhdx_layout, vhdx_log
from tests.support.hyperv.files import WorldFiles
from tests.support.hyperv.world import HypervWorld

MIB = 1 << 20


class Told:
    """A host that says of each file what it builds on, and the calls to it."""

    def __init__(self, parents: Mapping[str, str | None]) -> None:
        self._parents = parents

    def read(self, machine_id: str, ask: Callable[[Any], Any]) -> Any:
        return ask(self)

    def reading_host(self, machine_id: str, path: str) -> str:
        return "hv1"

    def disk_file(self, path: str) -> DiskFile:
        return DiskFile(path, "id", MIB, self._parents[path], "vhdx", 512)


class Folder:
    r"""Serves `\\hv1\C$\VMs` from a folder; `opened` are the paths that were asked for."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.opened: list[str] = []

    def open(self, unc: str) -> LocalFile:
        self.opened.append(unc)
        return LocalFile(str(self._root / unc.removeprefix("\\\\hv1\\C$\\VMs\\")))


def places(root: Path, parents: Mapping[str, str | None]) -> tuple[MachinePlaces, Folder]:
    """The files of a machine in a folder."""
    folder = Folder(root)
    return MachinePlaces(Told(parents), folder, None, "m"), folder


def chain(root: Path, **stated: str) -> None:
    """A base with data and a child above it, whose locator says what is `stated`."""
    vhdx_files.create(root / "base.vhdx", 2 * MIB)
    vhdx_files.write(root / "base.vhdx", 0, b"b" * 512)
    vhdx_files.create_child(root / "child.avhdx", root / "base.vhdx", **stated)


ONE_ABOVE_THE_OTHER = {"C:\\VMs\\child.avhdx": "C:\\VMs\\base.vhdx", "C:\\VMs\\base.vhdx": None}


@pytest.mark.parametrize(
    "stated",
    [
        {"relative_path": "..\\..\\Windows\\System32\\config\\SAM"},
        {"relative_path": "\\\\attacker\\share\\base.vhdx", "absolute_win32_path": "\\\\attacker\\share\\base.vhdx"},
        {"absolute_win32_path": "C:\\Windows\\win.ini"},
    ],
)
def test_a_locator_leads_nowhere(tmp_path: Path, stated: dict[str, str]) -> None:
    """Whatever a file says about its parent, the file that the host names is opened, and no other."""
    chain(tmp_path, **stated)
    machine, folder = places(tmp_path, ONE_ABOVE_THE_OTHER)
    disk = machine.open_disk("C:\\VMs\\child.avhdx")
    buffer = bytearray(512)
    disk.pread_into(0, memoryview(buffer))
    disk.close()
    assert bytes(buffer) == b"b" * 512
    assert folder.opened == ["\\\\hv1\\C$\\VMs\\child.avhdx", "\\\\hv1\\C$\\VMs\\base.vhdx"]


@pytest.mark.parametrize(
    ("path", "parent"),
    [
        ("C:\\VMs\\a.vhdx", "\\\\attacker\\share\\a.vhdx"),
        ("C:\\VMs\\a.vhdx", "\\\\hv1\\C$\\VMs\\b.vhdx"),
        ("\\\\fs1\\vms\\a.vhdx", "\\\\attacker\\vms\\b.vhdx"),
        ("\\\\fs1\\vms\\a.vhdx", "\\\\fs1\\other\\b.vhdx"),
    ],
)
def test_no_chain_leads_to_another_server(tmp_path: Path, path: str, parent: str) -> None:
    """A host that repeats a file's own words does not make us log on where whoever wrote the file wants us to."""
    machine, folder = places(tmp_path, {path: parent, parent: None})
    with pytest.raises(SourceDenied) as refused:
        machine.open_disk(path)
    assert refused.value.code == "parent-elsewhere"
    assert folder.opened == []


def test_a_chain_within_a_share_is_followed(tmp_path: Path) -> None:
    """Machines whose disks are on a file server keep their checkpoints."""
    names = ["\\\\fs1\\vms\\a.avhdx", "\\\\FS1\\VMS\\b.avhdx", "\\\\fs1\\vms\\web\\c.vhdx"]
    machine, _ = places(tmp_path, {names[0]: names[1], names[1]: names[2], names[2]: None})
    assert list(machine.parents(names[0]).values()) == names[1:]


def test_a_chain_without_end_is_refused(tmp_path: Path) -> None:
    """A host that names files in a circle is not followed for ever, and nothing is opened."""
    for circle in (
        {"C:\\VMs\\a.vhdx": "C:\\VMs\\b.vhdx", "C:\\VMs\\b.vhdx": "C:\\VMs\\a.vhdx"},
        {"C:\\VMs\\a.vhdx": "c:\\vms\\A.VHDX", "c:\\vms\\A.VHDX": "C:\\VMs\\a.vhdx"},
        {f"C:\\VMs\\{'a' if at == 0 else at}.vhdx": f"C:\\VMs\\{at + 1}.vhdx" for at in range(100)},
    ):
        machine, folder = places(tmp_path, circle)
        with pytest.raises(SourceCorrupt) as endless:
            machine.open_disk("C:\\VMs\\a.vhdx")
        assert endless.value.code == "chain-endless"
        assert folder.opened == []


def test_a_parent_that_is_missing_is_told(tmp_path: Path) -> None:
    """The disk is not read without it."""
    chain(tmp_path)
    (tmp_path / "base.vhdx").unlink()
    with pytest.raises(SourceNotFound):
        places(tmp_path, ONE_ABOVE_THE_OTHER)[0].open_disk("C:\\VMs\\child.avhdx")


def test_another_parent_than_the_childs_is_refused(tmp_path: Path) -> None:
    """A base that was written to since is not what the child builds on: no byte of it is read as the disk's."""
    chain(tmp_path)
    vhdx_files.write(tmp_path / "base.vhdx", 512, b"x" * 512)
    with pytest.raises(AdapterError):
        places(tmp_path, ONE_ABOVE_THE_OTHER)[0].open_disk("C:\\VMs\\child.avhdx")


def frozen_file(world: HypervWorld, key: str) -> Path:
    """The file that a machine's newest checkpoint froze."""
    (path,) = world.machines[key].checkpoints[-1].files.values()
    return world.storage.local(path)


def test_a_log_that_nobody_replayed_is_part_of_the_disk(world: HypervWorld, source_of: SourceOf) -> None:
    """A host that was cut off left changes of the tables in the log: they are read as if they were in their places."""
    key = world.add_machine("web", 6 * MIB)
    snapshot = freeze(source_of(world), key)
    path = frozen_file(world, key)
    expected = bytearray(world.content(key, world.place(key)))
    expected[MIB : MIB + 5120] = b"in the log" * 512
    vhdx_log.logged(path, lambda file: vhdx_files.write(file, MIB, b"in the log" * 512))
    assert [*read_point(snapshot, None).contents.values()] == [bytes(expected)]
    snapshot.release(committed=False)


def test_a_newer_header_that_is_damaged_is_not_believed(world: HypervWorld, source_of: SourceOf) -> None:
    """The older one, whose checksum is right, is: the disk is read through it."""
    key = world.add_machine("web", 6 * MIB)
    world.write(key, world.place(key), 0, b"data" * 1000)
    expected = world.content(key, world.place(key))
    snapshot = freeze(source_of(world), key)
    path = frozen_file(world, key)
    with path.open("r+b") as file:
        headers = []
        for place in vhdx_layout.HEADER_OFFSETS:
            file.seek(place)
            headers.append((vhdx_layout.unpack_header(file.read(4096)), place))
        older = min(headers, key=lambda found: found[0].sequence)
        newer = max(headers, key=lambda found: found[0].sequence)
        assert older[0].sequence < newer[0].sequence
        file.seek(newer[1] + 100)
        file.write(b"\xff")
    assert [*read_point(snapshot, None).contents.values()] == [expected]
    snapshot.release(committed=False)


def test_a_damaged_disk_is_no_restore_point_and_leaves_nothing(world: HypervWorld, source_of: SourceOf) -> None:
    """What cannot be read is an error of the backup; the checkpoint goes all the same."""
    key = world.add_machine("web", 6 * MIB)
    snapshot = freeze(source_of(world), key)
    with vhdx_files.VhdxFile(frozen_file(world, key), writing=True) as file:
        file.set_entry(file.payload_index(1), vhdx_layout.FULL, 1 << 40)
    with pytest.raises(SourceCorrupt):
        read_point(snapshot, None)
    snapshot.release(committed=False)
    assert (world.machines[key].checkpoints, world.machines[key].reference_points) == ([], [])


def test_a_check_asks_where_a_backup_would_read(world: HypervWorld, source_of: SourceOf) -> None:
    """A server that hangs up, and a share that shows another folder, are told before the first backup."""
    key = world.add_machine("web", MIB)
    files = WorldFiles(world)
    source = source_of(world, files)
    assert source.check().abilities[0] == "1 machines"
    files.gone.add("hv1")
    with pytest.raises(SourceUnavailable):
        source.check()
    files.gone.clear()
    files.exists = lambda unc: False
    with pytest.raises(SourceNotFound):
        source.check()
    assert not world.machines[key].checkpoints
