"""Taking machines back: bytes equal, nothing overwritten that is in use, nothing left of what failed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pyVmomi import vim

from adapters.errors import AdapterError, SourceConflict, SourceCorrupt, SourceInvalid, SourceNotFound
from adapters.port import ConfigurationFile, DiskImage, Extent, MachineRestore, Untracked
from adapters.vmware.restore import recipe
from adapters.vmware.restore.recipe import read_recipe
from adapters.vmware.source import VmwareSource
from tests.adapters.vmware.conftest import MakeSource, StartVsphere
from tests.adapters.vmware.freezes import bases_of, frozen, machine_named, request
from tests.support.vcsim_process import Vcsim
from tests.support.vsphere import VsphereSimulator
from tests.support.vsphere.building import MachineSpec
from tests.support.vsphere.devices import DiskSpec

MIB = 1 << 20
LABEL = "restore-7"


class Image:
    """A disk's content; its zero pieces are told as such. `fails_at` is where reading it breaks off."""

    def __init__(self, content: bytes, *, fails_at: int | None = None, failure: BaseException | None = None) -> None:
        self.size_bytes = len(content)
        self._content = content
        self._fails_at = fails_at
        self._failure = failure or SourceCorrupt("a chunk is damaged", code="chunk-corrupt")

    def extents(self) -> Iterator[Extent]:
        for start in range(0, self.size_bytes, 65536):
            piece = self._content[start : start + 65536]
            yield Extent(start, len(piece), zero=not any(piece))

    def pread_into(self, offset: int, buffer: memoryview) -> None:
        if self._fails_at is not None and offset + len(buffer) > self._fails_at:
            raise self._failure
        buffer[:] = self._content[offset : offset + len(buffer)]


class Strange(Exception):
    """What an image raises that is none of ours."""


def content(size: int, seed: int = 1) -> bytes:
    """Data with holes."""
    dice = random.Random(seed)
    return b"".join(bytes(65536) if dice.random() < 0.5 else dice.randbytes(65536) for _ in range(size // 65536))


@pytest.fixture
def vsphere(start_vsphere: StartVsphere) -> VsphereSimulator:
    """A machine with two disks, and one that is off."""
    disks = (DiskSpec(2 * MIB), DiskSpec(MIB))
    return start_vsphere(MachineSpec("vm", disks=disks), MachineSpec("off", disks=disks, powered_on=False))


@pytest.fixture
def source(vsphere: VsphereSimulator, source_of: MakeSource) -> VmwareSource:
    """A source on them."""
    return source_of(vsphere)


def configuration(source: VmwareSource, name: str = "vm") -> tuple[ConfigurationFile, ...]:
    """What a backup keeps of a machine."""
    with frozen(source, name) as snapshot:
        return tuple(snapshot.configuration)


def wanted(source: VmwareSource, images: list[DiskImage], name: str = "again") -> MachineRestore:
    """A request for a machine like `vm`."""
    keys = [disk.key for disk in machine_named(source, "vm").disks]
    return MachineRestore(name, LABEL, configuration(source), dict(zip(keys, images, strict=True)))


def test_a_machine_is_made_again(vsphere: VsphereSimulator, source: VmwareSource) -> None:
    """Processors, memory, firmware, controllers, disks and cards; it is off; its bytes are those of the images."""
    images = [Image(content(2 * MIB)), Image(content(MIB, 2))]
    written: list[int] = []
    made = source.restore_machine(wanted(source, images), written.append)
    assert sum(written) == 3 * MIB
    again = vsphere.machine("again")
    assert made.key == again.set.instance_uuid != vsphere.machine("vm").set.instance_uuid
    assert (again.set.cpus, again.set.memory_mb, again.set.firmware) == (2, 2048, "efi")
    assert again.power_state == "poweredOff"
    assert LABEL in again.set.annotation
    assert [vsphere.content("again", index) for index in (0, 1)] == [content(2 * MIB), content(MIB, 2)]
    cards = [device for device in again.set.devices if isinstance(device, vim.vm.device.VirtualEthernetCard)]
    assert len(cards) == 1
    assert not cards[0].connectable.startConnected
    assert (vsphere.datastore / "again" / "again.nvram").read_bytes().startswith(b"MRVN")
    assert [note for note in made.notes if "network cards" not in note] == []
    assert len(made.notes) == 1


def test_devices_go_by_names_that_pyvmomi_knows() -> None:
    """A kind that we misspell would be told as not made again in every restore, though each machine has it."""
    for name in recipe.CONTROLLERS | recipe.CARDS | recipe.GIVEN:
        assert issubclass(getattr(vim.vm.device, name), vim.vm.device.VirtualDevice)


def test_a_machine_made_again_is_backed_up(vsphere: VsphereSimulator, source: VmwareSource) -> None:
    """Its first backup is like any other machine's, and an incremental follows."""
    source.restore_machine(wanted(source, [Image(content(2 * MIB)), Image(content(MIB))]), lambda _: None)
    bases = bases_of(source, "again")
    vsphere.write("again", 0, 5000, b"new")
    with frozen(source, "again", bases) as snapshot:
        changes = [list(disk.changes()) for disk in snapshot.disks.values()]
    assert [bool(found) for found in changes] == [True, False]


def test_part_of_the_disks_is_said(source: VmwareSource) -> None:
    """A disk that is not restored is in the notes."""
    whole = wanted(source, [Image(content(2 * MIB)), Image(content(MIB))])
    first = next(iter(whole.disks))
    made = source.restore_machine(replace(whole, disks={first: whole.disks[first]}), lambda _: None)
    assert any("Hard disk 2" in note for note in made.notes)


def test_a_name_that_is_taken_is_refused(source: VmwareSource) -> None:
    """Nothing is made beside a machine of the same name."""
    with pytest.raises(SourceConflict) as caught:
        source.restore_machine(wanted(source, [Image(b"\0" * 512)] * 2, "vm"), lambda _: None)
    assert caught.value.code == "name-taken"


@pytest.mark.parametrize("failure", [None, Strange("not ours"), KeyboardInterrupt()])
def test_what_fails_is_removed(vsphere: VsphereSimulator, source: VmwareSource, failure: BaseException | None) -> None:
    """The image of the second disk breaks off, whatever it raises: no machine, no file."""
    images = [Image(content(2 * MIB)), Image(content(MIB), fails_at=MIB // 2, failure=failure)]
    before = sorted(path.name for path in vsphere.datastore.iterdir())
    with pytest.raises(type(failure) if failure else AdapterError):
        source.restore_machine(wanted(source, images), lambda _: None)
    assert {machine.name for machine in source.inventory()} == {"vm", "off"}
    assert sorted(path.name for path in vsphere.datastore.iterdir()) == before


def test_what_cannot_be_removed_is_named(vsphere: VsphereSimulator, source: VmwareSource) -> None:
    """The error says where the rest lies."""
    images = [Image(content(2 * MIB), fails_at=MIB), Image(content(MIB))]
    asked = wanted(source, images)
    vsphere.faults.fail_task("Destroy_Task", vim.fault.FileLocked(file="x"))
    vsphere.faults.fail_task("DeleteDatastoreFile_Task", vim.fault.FileLocked(file="x"))
    with pytest.raises(AdapterError) as caught:
        source.restore_machine(asked, lambda _: None)
    assert "[datastore1] again" in caught.value.hint


def test_what_remains_after_a_failure_that_is_not_ours_is_named(
    vsphere: VsphereSimulator, source: VmwareSource
) -> None:
    """An error of the image's, of which we know nothing, has a note that says where the rest lies."""
    asked = wanted(source, [Image(content(2 * MIB), fails_at=MIB, failure=Strange("x")), Image(content(MIB))])
    vsphere.faults.fail_task("Destroy_Task", vim.fault.FileLocked(file="x"))
    vsphere.faults.fail_task("DeleteDatastoreFile_Task", vim.fault.FileLocked(file="x"))
    with pytest.raises(Strange) as caught:
        source.restore_machine(asked, lambda _: None)
    assert any("[datastore1] again" in note for note in caught.value.__notes__)


def test_a_lost_reply_to_making_is_found_by_the_label(vsphere: VsphereSimulator, source: VmwareSource) -> None:
    """The machine that was made is used; there is no second one."""
    asked = wanted(source, [Image(content(2 * MIB)), Image(content(MIB))])
    vsphere.faults.lose_reply("CreateVM_Task")
    source.restore_machine(asked, lambda _: None)
    assert [machine.name for machine in source.inventory()].count("again") == 1


@pytest.mark.parametrize(
    ("files", "error", "code"),
    [
        ((), SourceNotFound, "configuration-missing"),
        ((ConfigurationFile("config.json", b"{"),), SourceInvalid, "configuration-unreadable"),
        ((ConfigurationFile("config.json", b'{"format":1}'),), SourceInvalid, "configuration-unreadable"),
        ((ConfigurationFile("config.json", b'{"format":9}'),), SourceInvalid, "configuration-format"),
        ((ConfigurationFile("config.json", b"[]"),), SourceInvalid, "configuration-unreadable"),
    ],
)
def test_a_configuration_that_cannot_be_read_is_told(
    files: tuple[ConfigurationFile, ...], error: type[AdapterError], code: str
) -> None:
    """Another source's configuration makes no machine."""
    with pytest.raises(error) as caught:
        read_recipe(files)
    assert caught.value.code == code


# --- in place ---


def test_a_disk_is_overwritten(vsphere: VsphereSimulator, source: VmwareSource) -> None:
    """One disk of a machine that is off has the image's bytes, zeros among them; the other one is as it was."""
    vsphere.write("off", 0, 0, b"old" * 9999)
    other = vsphere.content("off", 1)
    machine = machine_named(source, "off")
    written: list[int] = []
    source.restore_disk(machine, machine.disks[0].key, Image(content(2 * MIB)), LABEL, written.append)
    assert vsphere.content("off", 0) == content(2 * MIB)
    assert vsphere.content("off", 1) == other
    assert sum(written) == 2 * MIB


def test_after_overwriting_no_old_base_is_used(vsphere: VsphereSimulator, source: VmwareSource) -> None:
    """What was written behind the tracking's back is read by the next backup."""
    bases = bases_of(source, "off")
    assert all(bases.values())
    machine = machine_named(source, "off")
    source.restore_disk(machine, machine.disks[0].key, Image(content(2 * MIB)), LABEL, lambda _: None)
    with frozen(source, "off", bases) as snapshot:
        assert all(isinstance(disk.tracking, Untracked) for disk in snapshot.disks.values())
    assert all(bases_of(source, "off").values())


def test_a_running_machine_is_not_overwritten(source: VmwareSource) -> None:
    """Nor one with snapshots, a disk of another size, or a disk that is not there."""
    machine = machine_named(source, "vm")
    with pytest.raises(SourceConflict) as caught:
        source.restore_disk(machine, machine.disks[0].key, Image(content(2 * MIB)), LABEL, lambda _: None)
    assert caught.value.code == "machine-running"


def test_what_does_not_fit_is_not_overwritten(vsphere: VsphereSimulator, source: VmwareSource) -> None:
    """Another size, an unknown disk, a machine with snapshots, a machine that is being backed up."""
    machine = machine_named(source, "off")
    key, image = machine.disks[0].key, Image(content(2 * MIB))
    with pytest.raises(SourceConflict) as caught:
        source.restore_disk(machine, key, Image(content(MIB)), LABEL, lambda _: None)
    assert caught.value.code == "disk-resized"
    with pytest.raises(SourceNotFound):
        source.restore_disk(machine, "no-such-disk", image, LABEL, lambda _: None)
    snapshot = source.snapshot(machine, request(machine))
    with pytest.raises(SourceConflict) as caught:
        source.restore_disk(machine, key, image, LABEL, lambda _: None)
    assert caught.value.code == "backup-running"
    snapshot.release(committed=False)
    vsphere.plant_snapshot("off", "somebody's")
    with pytest.raises(SourceConflict) as caught:
        source.restore_disk(machine, key, image, LABEL, lambda _: None)
    assert caught.value.code == "machine-has-snapshots"


def test_refusals_are_known_before_anything_is_done(vsphere: VsphereSimulator, source: VmwareSource) -> None:
    """Asked beforehand, the source says what it would say; of a disk that it can overwrite it says nothing."""
    off, running = machine_named(source, "off"), machine_named(source, "vm")
    source.require_overwritable(off, off.disks[0].key)
    with pytest.raises(SourceConflict) as caught:
        source.require_overwritable(running, running.disks[0].key)
    assert caught.value.code == "machine-running"
    with frozen(source, "off"), pytest.raises(SourceConflict) as caught:
        source.require_overwritable(off, off.disks[0].key)
    assert caught.value.code == "backup-running"
    vsphere.plant_snapshot("off", "somebody's")
    with pytest.raises(SourceConflict) as caught:
        source.require_overwritable(off, off.disks[0].key)
    assert caught.value.code == "machine-has-snapshots"


def test_a_disk_that_is_half_written_is_told(vsphere: VsphereSimulator, source: VmwareSource) -> None:
    """The error says that the disk must be restored again, whoever raised it."""
    machine = machine_named(source, "off")
    strange = Image(content(2 * MIB), fails_at=MIB, failure=Strange("x"))
    with pytest.raises(Strange) as noted:
        source.restore_disk(machine, machine.disks[0].key, strange, LABEL, lambda _: None)
    assert any("in part" in note for note in noted.value.__notes__)
    broken = Image(content(2 * MIB), fails_at=MIB)
    with pytest.raises(AdapterError) as caught:
        source.restore_disk(machine, machine.disks[0].key, broken, LABEL, lambda _: None)
    assert "in part" in caught.value.hint


# --- the third party's simulator ---


def test_a_machine_is_made_again_at_vcsim(vcsim: Vcsim, tmp_path: Path) -> None:
    """Configuration, upload and attaching are accepted by a server that is not ours, and the bytes come back."""
    source = VmwareSource("vc", vcsim.settings(), tmp_path / "run")
    machine = source.inventory()[0]
    files = configuration(source, machine.name)
    data = content(2 * MIB)
    request_ = MachineRestore("vcsim-again", LABEL, files, {machine.disks[0].key: Image(data)})
    made = source.restore_machine(request_, lambda _: None)
    (disk,) = machine_named(source, "vcsim-again").disks
    assert disk.size_bytes == 2 * MIB
    with frozen(source, "vcsim-again") as snapshot:
        reader = snapshot.disks[disk.key].open()
        read = bytearray(2 * MIB)
        reader.pread_into(0, memoryview(read))
        reader.close()
    assert bytes(read) == data
    assert made.key == machine_named(source, "vcsim-again").key
    source.close()
