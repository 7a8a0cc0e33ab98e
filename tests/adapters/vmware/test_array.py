"""Disks on a storage array: the machine's snapshot lives for a moment only, and whatever fails, nothing stays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from pyVmomi import vim

from adapters.errors import AdapterError, SourceConflict, SourceInvalid, SourceNotFound, SourceUnavailable
from adapters.port import BlockReader, DiskSnapshot, SnapshotRequest, TransportChoice, Untracked
from adapters.secret import Secret
from adapters.vmware.marks import array_name, is_array_label_of
from adapters.vmware.transport.access import DiskAccess
from adapters.vmware.transport.array.building import build_array
from adapters.vmware.transport.array.port import Presented
from adapters.vmware.transport.array.reflink import ReflinkArray
from adapters.vmware.transport.array.settings import ArraySettings, OntapSettings, ReflinkSettings
from adapters.vmware.transport.opening import open_reader
from tests.adapters.vmware.conftest import MakeSource
from tests.adapters.vmware.freezes import LABEL, frozen, machine_named, request
from tests.support.iscsi_target import iscsi_target
from tests.support.loop_filesystem import loop_filesystem
from tests.support.ontap_fake import PASSWORD, USER, OntapFake
from tests.support.qemu_vm import MISSING_TOOLS
from tests.support.vsphere.building import MachineSpec
from tests.support.vsphere.devices import DiskSpec
from tests.support.vsphere.on_btrfs import BTRFS_BYTES, make_subvolume, vsphere_on_btrfs
from tests.support.vsphere.simulator import DATASTORE, VsphereSimulator

MIB = 1 << 20
RDM = DiskSpec(MIB, rdm="virtualMode")
LUN = "0200"
MACHINES = (
    MachineSpec("web", disks=(DiskSpec(2 * MIB), DiskSpec(MIB))),
    MachineSpec("mixed", disks=(DiskSpec(MIB), RDM)),
    MachineSpec("raw", disks=(RDM,)),
)


@pytest.fixture(scope="module")
def btrfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A btrfs, mounted once for all."""
    if MISSING_TOOLS:
        pytest.skip(f"needs {', '.join(MISSING_TOOLS)}")
    with loop_filesystem("btrfs", tmp_path_factory.mktemp("btrfs"), BTRFS_BYTES) as mount:
        yield mount


@pytest.fixture(scope="module")
def site(btrfs: Path) -> Iterator[tuple[VsphereSimulator, ArraySettings]]:
    """A vCenter whose datastore the array has; every disk holds something."""
    with vsphere_on_btrfs(btrfs, MACHINES) as (running, array):
        for seed, (name, disk) in enumerate([("web", 0), ("web", 1), ("mixed", 0), ("mixed", 1), ("raw", 0)]):
            running.write(name, disk, 0, Random(seed).randbytes(300_000))
        yield running, array


@pytest.fixture
def vsphere(site: tuple[VsphereSimulator, ArraySettings]) -> Iterator[VsphereSimulator]:
    """That vCenter; after each test nothing of ours is at the array, nor at its machines."""
    running, array = site
    yield running
    assert [name for spec in MACHINES for name in running.snapshots(spec.name)] == []
    assert list(build_array(array).labels()) == []


@pytest.fixture
def array(site: tuple[VsphereSimulator, ArraySettings]) -> ArraySettings:
    """The array's settings."""
    return site[1]


def content(disk: DiskSnapshot) -> bytes:
    """Read a frozen disk as a full does."""
    reader = disk.open()
    try:
        out = bytearray(reader.size_bytes)
        for extent in reader.extents():
            if not extent.zero:
                reader.pread_into(extent.start, memoryview(out)[extent.start : extent.end])
        return bytes(out)
    finally:
        reader.close()


def kinds(disks: list[DiskSnapshot]) -> list[str]:
    """What was chosen for the disks."""
    return [disk.choice.kind if disk.choice is not None else "" for disk in disks]


def test_the_machines_snapshot_is_gone_before_the_first_read(
    vsphere: VsphereSimulator, array: ArraySettings, source_of: MakeSource
) -> None:
    """When a disk is opened the machine has no snapshot any more, and what is read is its moment all the same."""
    seen: list[list[str]] = []

    def opened(choice: TransportChoice, access: DiskAccess, presented: Presented | None) -> BlockReader:
        seen.append(vsphere.snapshots("web"))
        return open_reader(choice, access, presented)

    before = [vsphere.content("web", index) for index in (0, 1)]
    with frozen(source_of(vsphere, array=array, open_reader=opened), "web") as snapshot:
        disks = list(snapshot.disks.values())
        assert kinds(disks) == ["array_snapshot"] * 2
        vsphere.write("web", 0, 5000, b"after the moment" * 1000)
        assert [content(disk) for disk in disks] == before
        assert any(extent.zero for extent in disks[0].open().extents())  # the server was asked in time
        snapshot.confirm()
    assert seen
    assert seen == [[]] * len(seen)


def test_a_disk_elsewhere_keeps_the_machines_snapshot(
    vsphere: VsphereSimulator, array: ArraySettings, source_of: MakeSource
) -> None:
    """Of a machine with a disk that the array does not have, the snapshot stays until the release, for that disk."""
    before = [vsphere.content("mixed", index) for index in (0, 1)]
    with frozen(source_of(vsphere, array=array), "mixed") as snapshot:
        disks = list(snapshot.disks.values())
        assert kinds(disks) == ["array_snapshot", "export"]
        (other,) = [it for it in disks[1].choice.rejected if it.kind == "array_snapshot"]  # type: ignore[union-attr]
        assert other.why == f"the settings of the array reflink do not name the LUN {LUN}"
        assert len(vsphere.snapshots("mixed")) == 1
        assert [content(disk) for disk in disks] == before
        snapshot.confirm()
    with frozen(source_of(vsphere, array=array), "mixed") as snapshot:
        vsphere.drop_snapshot("mixed", vsphere.snapshots("mixed")[0])
        with pytest.raises(SourceConflict, match="did not hold"):
            snapshot.confirm()


def test_a_raw_lun_is_read_whole(vsphere: VsphereSimulator, array: ArraySettings, source_of: MakeSource) -> None:
    """A raw device mapping in virtual mode is its LUN: the array's clone of that is the disk."""
    before = vsphere.content("raw", 0)
    lun = {LUN: "ds1/raw/raw-flat.vmdk"}
    with frozen(source_of(vsphere, array=replace(array, luns=lun)), "raw") as snapshot:
        assert vsphere.snapshots("raw") == []
        vsphere.write("raw", 0, 0, b"after the moment")
        (disk,) = snapshot.disks.values()
        assert kinds([disk]) == ["array_snapshot"]
        assert content(disk) == before
    vsphere.write("raw", 0, 0, before[:16])


def test_a_full_of_one_disk_leaves_the_others_out(
    vsphere: VsphereSimulator, array: ArraySettings, source_of: MakeSource
) -> None:
    """Disks that were not asked for do not keep the machine's snapshot alive."""
    source = source_of(vsphere, array=array)
    machine = machine_named(source, "mixed")
    key = machine.disks[0].key
    snapshot = source.snapshot(machine, SnapshotRequest(LABEL, {key: None}))
    assert vsphere.snapshots("mixed") == []
    assert content(snapshot.disks[key]) == vsphere.content("mixed", 0)
    snapshot.release(committed=False)


@pytest.mark.parametrize("acted", [False, True])
@pytest.mark.parametrize("step", ["snapshot", "present"])
def test_a_step_of_the_array_that_fails_is_the_error(
    vsphere: VsphereSimulator,
    array: ArraySettings,
    source_of: MakeSource,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    acted: bool,
) -> None:
    """Nothing else is tried instead, though it could be; everything is taken back, a lost success, too."""
    inner: Callable[..., object] = getattr(ReflinkArray, step)

    def fails(self: ReflinkArray, *arguments: str) -> None:
        if acted:
            inner(self, *arguments)
        raise SourceUnavailable("The array is down", code="array-lost")

    monkeypatch.setattr(ReflinkArray, step, fails)
    source = source_of(vsphere, array=array)
    machine = machine_named(source, "web")
    with pytest.raises(SourceUnavailable, match="The array is down"):
        source.snapshot(machine, request(machine))


def test_a_snapshot_that_cannot_be_dropped_is_the_error(
    vsphere: VsphereSimulator, array: ArraySettings, source_of: MakeSource
) -> None:
    """When the machine's snapshot stays there is no backup; the array is clean, and the next run removes the rest."""
    source = source_of(vsphere, array=array)
    machine = machine_named(source, "web")
    vsphere.faults.fail_task("RemoveSnapshot_Task", vim.fault.FileLocked(msg="somebody reads it"), times=2)
    with pytest.raises(AdapterError, match="was not removed"):
        source.snapshot(machine, request(machine))
    assert list(build_array(array).labels()) == []
    assert len(vsphere.snapshots("web")) == 1
    assert [leftover.action for leftover in source.reconcile(machine, {})] == ["removed"]


def test_a_moment_that_did_not_hold_is_refused(
    vsphere: VsphereSimulator, array: ArraySettings, source_of: MakeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If somebody removes the machine's snapshot before the array has its own, the files did not stand still."""
    inner = ReflinkArray.snapshot

    def late(self: ReflinkArray, volume: str, label: str) -> None:
        vsphere.drop_snapshot("web", vsphere.snapshots("web")[0])
        inner(self, volume, label)

    monkeypatch.setattr(ReflinkArray, "snapshot", late)
    source = source_of(vsphere, array=array)
    machine = machine_named(source, "web")
    with pytest.raises(SourceConflict) as refused:
        source.snapshot(machine, request(machine))
    assert refused.value.code == "snapshot-lost"


def test_another_volume_is_not_read(vsphere: VsphereSimulator, array: ArraySettings, source_of: MakeSource) -> None:
    """A volume that holds an older copy of the datastore is found out: it lacks the file that our snapshot made."""
    assert isinstance(array.driver, ReflinkSettings)
    copy = array.driver.root / "copy"
    if not copy.exists():
        make_subvolume(copy)
    for name in ("web.vmdk", "web-flat.vmdk"):
        (copy / "web").mkdir(exist_ok=True)
        (copy / "web" / name).write_bytes((vsphere.datastore / "web" / name).read_bytes())
    source = source_of(vsphere, array=replace(array, datastores={DATASTORE: "copy"}))
    machine = machine_named(source, "web")
    with pytest.raises(SourceInvalid) as refused:
        source.snapshot(machine, request(machine))
    assert refused.value.code == "array-other-volume"


def test_a_disk_is_no_datastore(vsphere: VsphereSimulator, array: ArraySettings, source_of: MakeSource) -> None:
    """A single file named for a datastore is refused: it would be read as each of its disks."""
    source = source_of(vsphere, array=replace(array, datastores={DATASTORE: "ds1/web/web-flat.vmdk"}))
    machine = machine_named(source, "web")
    with pytest.raises(SourceInvalid) as refused:
        source.snapshot(machine, request(machine))
    assert refused.value.code == "array-path"


def test_a_dead_run_is_cleaned_up_by_its_label(
    vsphere: VsphereSimulator, array: ArraySettings, source_of: MakeSource
) -> None:
    """What a dead run left at the array is removed with the machine's next run, by nobody else, and named."""
    doomed, source = source_of(vsphere, array=array), source_of(vsphere, array=array)
    machine = machine_named(source, "web")
    next(iter(doomed.snapshot(machine, request(machine)).disks.values())).open()
    doomed.close()
    (left,) = build_array(array).labels()
    assert list(source.reconcile(machine_named(source, "mixed"), {})) == []
    assert list(build_array(array).labels()) == [left]
    (cleaned,) = source.reconcile(machine, {})
    assert (cleaned.what, cleaned.action) == (f"array snapshot {left}", "removed")


def test_an_array_that_is_down_stops_machines_on_it_only(
    vsphere: VsphereSimulator, array: ArraySettings, source_of: MakeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clean-up says that it could not look there, and a machine without a disk on the array goes on."""

    def down(*_: object) -> list[str]:
        raise SourceUnavailable("The array is down", code="array-lost")

    for step in ("labels", "snapshot"):
        monkeypatch.setattr(ReflinkArray, step, down)
    monkeypatch.setattr(ReflinkArray, "remove", lambda *_: None)
    source = source_of(vsphere, array=array)
    (told,) = source.reconcile(machine_named(source, "raw"), {})
    assert told.action == "not looked for: The array is down"
    with frozen(source, "raw") as snapshot:
        assert kinds(list(snapshot.disks.values())) == ["export"]


def test_a_check_looks_for_the_volumes(vsphere: VsphereSimulator, array: ArraySettings, source_of: MakeSource) -> None:
    """A check says what the array holds, and raises for a volume or a datastore that is not there."""
    assert (
        f"snapshots by the array reflink of the datastore {DATASTORE}"
        in source_of(vsphere, array=array).check().abilities
    )
    with pytest.raises(SourceNotFound, match="no volume ds7"):
        source_of(vsphere, array=replace(array, datastores={DATASTORE: "ds7"})).check()
    with pytest.raises(SourceConflict, match="No datastores are called other"):
        source_of(vsphere, array=replace(array, datastores={"other": "ds1"})).check()


def test_without_leave_the_array_is_not_used(
    vsphere: VsphereSimulator, array: ArraySettings, source_of: MakeSource
) -> None:
    """A list of allowed transports without it leaves the array alone, and says so."""
    with frozen(source_of(vsphere, array=array, transports=("http_folder",)), "web") as snapshot:
        assert kinds(list(snapshot.disks.values())) == ["http_folder"] * 2
        assert list(build_array(array).labels()) == []


def test_an_incremental_is_read_from_the_array(
    vsphere: VsphereSimulator, array: ArraySettings, source_of: MakeSource
) -> None:
    """What changed is asked of the server in time, and read from the clone, discards included."""
    source = source_of(vsphere, array=array)
    with frozen(source, "web") as first:
        bases = {key: disk.base_token for key, disk in first.disks.items()}
    vsphere.write("web", 0, 70_000, b"changed")
    vsphere.discard("web", 0, 131072, 65536)
    with frozen(source, "web", bases) as snapshot:
        disk, other = snapshot.disks.values()
        assert not isinstance(disk.tracking, Untracked)
        assert {(extent.start, extent.zero) for extent in disk.changes()} == {(65536, False), (131072, True)}
        assert list(other.changes()) == []
        assert content(disk) == vsphere.content("web", 0)


def test_a_lun_of_ontap_is_read_over_iscsi(vsphere: VsphereSimulator, source_of: MakeSource, tmp_path: Path) -> None:
    """With ONTAP (a fake of its REST API, a real iSCSI target) a raw LUN is read, and a file of a VMFS is not."""
    before = vsphere.content("raw", 0)
    with (
        OntapFake(tmp_path / "certificates") as filer,
        iscsi_target(vsphere.datastore / "raw" / "raw-flat.vmdk") as target,
    ):
        filer.target, filer.on_clone = target.target, lambda _: 1
        driver = OntapSettings(
            host="localhost",
            port=filer.port,
            user=USER,
            password=Secret(lambda: PASSWORD),
            svm="svm1",
            igroup="proxies",
            portal=target.portal,
            initiator="iqn.2024-01.invalid.holdfast:proxy",
            ca_file=filer.authority.ca_file,
        )
        source = source_of(vsphere, array=ArraySettings(driver, luns={LUN: "/vol/vol1/lun1"}))
        assert f"snapshots by the array ontap of the LUN {LUN}" in source.check().abilities
        with frozen(source, "raw") as snapshot:
            assert vsphere.snapshots("raw") == []
            assert len(filer.snapshots) == len(filer.maps) == 1
            (disk,) = snapshot.disks.values()
            assert kinds([disk]) == ["array_snapshot"]
            assert content(disk) == before
        assert (len(filer.luns), filer.maps, filer.snapshots) == (1, [], [])
        with frozen(source, "web") as snapshot:
            choice = next(iter(snapshot.disks.values())).choice
    assert choice is not None
    (other,) = [it for it in choice.rejected if it.kind == "array_snapshot"]
    assert "presents LUNs, and a file on a LUN (VMFS) cannot be read from it" in other.why


def test_labels_at_an_array_tell_the_machine() -> None:
    """A label is of one machine at one server, and of our making only."""
    label = f"{array_name('holdfast-run-1', 'vc', 'web')}-0"
    assert label.startswith("holdfast-run-1-")
    assert is_array_label_of(label, "vc", "web")
    assert not is_array_label_of(label, "vc", "db")
    assert not is_array_label_of(label, "other", "web")
    assert not is_array_label_of(label.removeprefix("holdfast-"), "vc", "web")
    assert not is_array_label_of("holdfast-nightly", "vc", "web")


def test_an_array_that_holds_nothing_is_refused() -> None:
    """An array is told what it holds, and one of LUNs holds no datastore."""
    with pytest.raises(SourceInvalid, match="no datastore and no LUN"):
        ArraySettings(ReflinkSettings(Path("/srv")))
    ontap = OntapSettings("h", "u", Secret(lambda: "p"), "svm", "igroup", "portal", "iqn")
    with pytest.raises(SourceInvalid, match="VMFS"):
        ArraySettings(ontap, {"ds1": "/vol/v/l"})
    with pytest.raises(SourceInvalid, match="holds no certificates"):
        build_array(ArraySettings(replace(ontap, ca_file=Path("/nowhere.pem")), luns={LUN: "/vol/v/l"}))
