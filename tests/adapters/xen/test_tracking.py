"""Change tracking: switched on where it can be, asked where it is good, and a full with its cause for all else."""

from __future__ import annotations

from base64 import b64encode

import pytest

from adapters.errors import SourceUnavailable
from adapters.port import Tracked, Untracked
from adapters.xen.source import XenSource
from tests.adapters.xen.conftest import MakeSource, StartPool
from tests.adapters.xen.freezes import bases_of, frozen, machine_named, ours, rebuilt
from tests.support.xapi.building import NO_TRACKING, DiskSpec, MachineSpec, SrSpec
from tests.support.xapi.faults import Fail, FailTask, LoseReply
from tests.support.xapi.simulator import XapiSimulator

MIB = 1 << 20
KIB = 1 << 10


@pytest.fixture
def pool(start_pool: StartPool) -> XapiSimulator:
    """One machine with one disk."""
    return start_pool([MachineSpec("vm")])


def cause(source: XenSource, bases: dict[str, str], key: str = "0") -> str | None:
    """Why the disk's changes are not known; None when they are."""
    with frozen(source, "vm", bases, committed=False) as snapshot:
        state = snapshot.disks[key].tracking
        return state.cause if isinstance(state, Untracked) else None


# --- switching it on ---


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        (FailTask("LICENCE_RESTRICTION", ("CBT",)), "cbt-licence"),
        (FailTask("SR_OPERATION_NOT_SUPPORTED", ("sr",)), "cbt-unsupported"),
        (FailTask("VDI_INCOMPATIBLE_TYPE", ("vdi", "metadata")), "cbt-disk-type"),
        (FailTask("VDI_ON_BOOT_MODE_INCOMPATIBLE_WITH_OPERATION"), "cbt-reset-on-boot"),
        (FailTask("OPERATION_NOT_ALLOWED", ("it is a snapshot",)), "cbt-not-allowed"),
        (FailTask("SR_BACKEND_FAILURE_461", ("", "Failed to activate", "")), "cbt-refused"),
    ],
)
def test_each_refusal_is_a_full_with_its_cause(
    pool: XapiSimulator, source: XenSource, action: FailTask, expected: str
) -> None:
    """The backup goes on, crash consistent and whole; the disk has no base token that could not be honoured."""
    pool.faults.on("VDI.enable_cbt", action)
    with frozen(source, "vm") as snapshot:
        (disk,) = snapshot.disks.values()
        assert disk.tracking == Untracked(expected)
        assert disk.base_token is None
        assert snapshot.consistency == "crash"
    assert ours(pool) == []


def test_a_licence_that_does_not_track(pool: XapiSimulator, source: XenSource) -> None:
    """XenServer without Premium refuses to switch tracking on: each backup is a full, and says why."""
    pool.restrict_cbt()
    for _ in range(2):
        assert cause(source, {}) == "cbt-licence"


def test_a_licence_that_ended_keeps_what_is_on(pool: XapiSimulator, source: XenSource) -> None:
    """Only switching on is licensed: a disk that is tracked already goes on incrementally."""
    bases = bases_of(source, "vm")
    pool.restrict_cbt()
    assert cause(source, bases) is None


def test_other_trouble_is_no_full(pool: XapiSimulator, source: XenSource) -> None:
    """A pool whose host is gone is an error of the backup, not a reason to read everything."""
    pool.faults.on("VDI.enable_cbt", FailTask("HOST_OFFLINE", ("host",)))
    with pytest.raises(SourceUnavailable):
        bases_of(source, "vm")
    assert pool.snapshots("vm") == []


def test_a_lost_reply_to_switching_on(pool: XapiSimulator, source: XenSource) -> None:
    """Whether tracking is on is looked up, and good for the next base."""
    pool.faults.on("VDI.enable_cbt", LoseReply())
    assert bases_of(source, "vm").keys() == {"0"}


def test_storage_that_cannot_track(start_pool: StartPool, source_of: MakeSource) -> None:
    """It is not asked to; the disk on other storage of the same machine is incremental all the same."""
    specs = MachineSpec("vm", disks=(DiskSpec(sr="local"), DiskSpec(sr="gfs2")))
    pool = start_pool([specs], srs=(SrSpec("local"), SrSpec("gfs2", type="gfs2", features=NO_TRACKING)))
    source = source_of(pool)
    bases = bases_of(source, "vm")
    assert bases.keys() == {"0"}
    assert (cause(source, bases), cause(source, bases, "1")) == (None, "cbt-unsupported")


def test_a_disk_that_was_off_begins_anew(pool: XapiSimulator, source: XenSource) -> None:
    """Tracking that was switched off and on since the base knows nothing of what lies between."""
    bases = bases_of(source, "vm")
    pool.disks.track(pool.vdi("vm"), enabled=False)
    assert cause(source, bases) == "tracking-was-off"
    bases = bases_of(source, "vm")
    pool.disks.track(pool.vdi("vm"), enabled=False)
    pool.disks.track(pool.vdi("vm"), enabled=True)
    assert cause(source, bases) == "changes-unrelated"


# --- asking what changed ---


def test_changes_are_those_blocks(pool: XapiSimulator, source: XenSource) -> None:
    """Single bytes in the first, the eighth, the ninth and the last block are these blocks, and no other."""
    bases = bases_of(source, "vm")
    before = pool.content("vm")
    for block in (0, 7, 8, 63):
        pool.write("vm", 0, block * 64 * KIB + 5, b"x")
    with frozen(source, "vm", bases) as snapshot:
        disk = snapshot.disks["0"]
        assert disk.tracking == Tracked()
        changed = {unit for extent in disk.changes() for unit in range(extent.start >> 16, -(-extent.end >> 16))}
        assert changed == {0, 7, 8, 63}
        assert rebuilt(disk, before) == pool.content("vm")


def test_a_grown_disk_stays_incremental(pool: XapiSimulator, source: XenSource) -> None:
    """What lies behind the old end is zeros but for what was written there."""
    bases = bases_of(source, "vm")
    before = pool.content("vm")
    pool.grow("vm", 0, 8 * MIB)
    pool.write("vm", 0, 7 * MIB, b"new space")
    with frozen(source, "vm", bases) as snapshot:
        disk = snapshot.disks["0"]
        assert disk.tracking == Tracked()
        assert disk.fact.size_bytes == 8 * MIB
        assert rebuilt(disk, before) == pool.content("vm")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b64encode(b"\xff" * 3).decode(), "changes-too-short"),
        ("", "changes-too-short"),
        ("!" * 12, "changes-unreadable"),
    ],
)
def test_an_answer_that_cannot_be_right(
    pool: XapiSimulator, source: XenSource, monkeypatch: pytest.MonkeyPatch, answer: str, expected: str
) -> None:
    """Too short or no base64: a full with its cause, and never a disk whose rest is taken for unchanged."""
    bases = bases_of(source, "vm")
    monkeypatch.setattr("tests.support.xapi.cbt.changed_blocks", lambda *_: answer)
    assert cause(source, bases) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("SR_BACKEND_FAILURE_460", "changes-unrelated"),
        ("SR_BACKEND_FAILURE_459", "changes-inconsistent"),
        ("SR_BACKEND_FAILURE_111", "changes-refused"),
        ("SR_OPERATION_NOT_SUPPORTED", "cbt-unsupported"),
        ("VDI_NO_CBT_METADATA", "base-missing"),
        ("VDI_MISSING", "base-missing"),
    ],
)
def test_each_refusal_to_tell_is_a_full_with_its_cause(
    pool: XapiSimulator, source: XenSource, name: str, expected: str
) -> None:
    """The disk is read whole, the machine's backup goes on, and the next base is good."""
    bases = bases_of(source, "vm")
    pool.faults.on("VDI.list_changed_blocks", Fail(name, ("x",)))
    with frozen(source, "vm", bases) as snapshot:
        assert snapshot.disks["0"].tracking == Untracked(expected)
        base = snapshot.disks["0"].base_token
    assert base is not None
    assert cause(source, {"0": base}) is None


def test_a_disk_in_use_is_asked_again(pool: XapiSimulator, source: XenSource) -> None:
    """An export that is just ending costs a pause; one that does not end costs a full."""
    bases = bases_of(source, "vm")
    pool.faults.on("VDI.list_changed_blocks", Fail("VDI_IN_USE", ("x", "list_changed_blocks")), times=2)
    assert cause(source, bases) is None
    pool.faults.on("VDI.list_changed_blocks", Fail("VDI_IN_USE", ("x", "list_changed_blocks")), times=100)
    assert cause(source, bases) == "changes-in-use"


def test_the_base_that_somebody_removed(pool: XapiSimulator, source: XenSource) -> None:
    """Without the metadata of the last point the disk is read in full."""
    bases = bases_of(source, "vm")
    (metadata,) = ours(pool)
    pool.disks.destroy(metadata.ref)
    assert cause(source, bases) == "base-missing"


def test_a_disk_that_was_migrated_is_another_disk(pool: XapiSimulator, source: XenSource) -> None:
    """Storage migration gives a disk a new uuid and no tracking: its identity changes, and its base is refused."""
    bases = bases_of(source, "vm")
    identity = machine_named(source, "vm").disks[0].identity
    pool.migrate_disk("vm", 0, "shared")
    assert machine_named(source, "vm").disks[0].identity != identity
    assert cause(source, bases) == "tracking-was-off"
    assert cause(source, bases) == "disk-replaced"


def test_a_disk_larger_than_two_tib(start_pool: StartPool, source_of: MakeSource) -> None:
    """Its bitmap and its last block are as good as any other's."""
    size = (3 << 40) + 64 * KIB
    pool = start_pool([MachineSpec("vm", disks=(DiskSpec(size),))])
    source = source_of(pool)
    bases = bases_of(source, "vm")
    pool.write("vm", 0, size - 10, b"the end")
    with frozen(source, "vm", bases) as snapshot:
        changes = list(snapshot.disks["0"].changes())
        assert (changes[0].start, changes[-1].end) == (3 << 40, size)
        assert not changes[-1].zero


def test_every_cause_is_stable() -> None:
    """What lands in events is kebab-case, and does not hold what the pool said in words."""
    from adapters.xen import tracking

    for table in (tracking._NOT_ON, tracking._NOT_TOLD):
        assert all(value.replace("-", "").isalnum() and value.islower() for value in table.values())
