"""Which bases are trusted: everything that could hide a change makes that disk, and no other, Untracked."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.errors import SourceConflict
from adapters.port import DiskFact, Extent, Tracked, Untracked
from adapters.qemu.bases import Base, judge, parse, token
from adapters.qemu.disks import GRANULARITY_BYTES, LiveDisk
from adapters.qemu.views import Bitmap, Image, Node
from tests.adapters.qemu.conftest import MakeSource, StartVm
from tests.conformance.source_harness import assert_changes_complete
from tests.support.qemu_backup import (
    assert_same,
    bitmaps,
    cause,
    content_of,
    frozen,
    full,
    machine_of,
    our_bitmaps,
    tokens,
)
from tests.support.qemu_vm import MIB, VmDisk

FACT = DiskFact("vd0", "vd0", 8 * MIB, "file-1", "bitmap", GRANULARITY_BYTES)


def units(changes: list[Extent]) -> set[int]:
    """Where the tracking units lie that hold the changes; holes may split a unit into data and zeros."""
    return {change.start - change.start % GRANULARITY_BYTES for change in changes}


def live(**changes: object) -> LiveDisk:
    """A disk with one trusted bitmap `b`, with some of the bitmap's facts changed."""
    facts = {"recording": True, "busy": False, "persistent": True, "granularity": GRANULARITY_BYTES, "name": "b"}
    bitmap = Bitmap(**(facts | changes))  # type: ignore[arg-type] # the test chooses field names at run time
    node = Node(drv="qcow2", ro=False, file="f", image=Image(virtual_size=8 * MIB), dirty_bitmaps=(bitmap,))
    return LiveDisk(FACT, node)


@given(st.text(max_size=300))
def test_foreign_tokens_are_never_taken_for_ours(text: str) -> None:
    """Any text is either a token or refused; none makes the adapter fail."""
    parsed = parse(text)
    assert parsed is None or isinstance(parsed, Base)
    assert isinstance(judge(text, live())[0], Untracked)


def test_a_token_names_its_bitmap() -> None:
    """A token says what it was made of, and tracks as long as everything is as it was."""
    assert parse(token("b", FACT)) == Base("b", "file-1", 8 * MIB, GRANULARITY_BYTES)
    assert judge(token("b", FACT), live()) == (Tracked(), "b")


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"name": "other"}, "bitmap-missing"),
        ({"inconsistent": True, "recording": False}, "bitmap-inconsistent"),
        ({"recording": False}, "bitmap-stopped"),
        ({"granularity": 4096}, "bitmap-granularity"),
    ],
)
def test_untrusted_bitmaps_have_causes(changes: dict[str, object], cause: str) -> None:
    """A bitmap that is missing, inconsistent, stopped or of another granularity is not used."""
    assert judge(token("b", FACT), live(**changes)) == (Untracked(cause), None)


def test_a_changed_disk_has_a_cause() -> None:
    """A base of another image or size is not used, even if a bitmap of that name is there."""
    assert judge(token("b", replace(FACT, size_bytes=MIB)), live()) == (Untracked("disk-resized"), None)
    assert judge(token("b", replace(FACT, identity="file-2")), live()) == (Untracked("disk-replaced"), None)
    assert judge(None, live()) == (Untracked("no-base"), None)


def test_a_busy_bitmap_is_a_conflict() -> None:
    """A bitmap that somebody uses is waited for, not given up."""
    with pytest.raises(SourceConflict) as caught:
        judge(token("b", FACT), live(busy=True))
    assert caught.value.code == "bitmap-busy"


def test_power_failure_makes_qcow2_full_with_its_cause(start_vm: StartVm, source_of: MakeSource) -> None:
    """After QEMU was killed only disks whose bitmap had been opened fall back to full; the next run tracks again."""
    vm = start_vm(VmDisk("vd0"), VmDisk("vd1"))
    source = source_of(vm)
    bases = full(source, "vd0")
    vm.quit()
    vm.start()  # vd0's bitmap is now read from its image, and marked as in use there
    bases |= full(source, "vd1")
    vm.write("vd0", 100_000, b"before the failure")
    vm.kill()
    vm.start()
    assert bitmaps(vm, "vd0")[our_bitmaps(vm, "vd0")[0]].inconsistent
    assert list(source.reconcile(machine_of(source), bases)) == []
    with frozen(source, bases, committed=True) as snapshot:
        assert cause(snapshot, "vd0") == "bitmap-inconsistent"
        assert cause(snapshot, "vd1") == "bitmap-missing"  # it had never been stored
        assert_same(content_of(snapshot.disks["vd0"]), vm.content("vd0"))
        bases = tokens(snapshot)
    assert all(len(our_bitmaps(vm, disk)) == 1 for disk in bases)
    with frozen(source, bases, committed=True) as snapshot:
        assert {cause(snapshot, disk) for disk in bases} == {"tracked"}


def test_one_disk_falls_back_alone(start_vm: StartVm, source_of: MakeSource) -> None:
    """When one disk's bitmap is gone the other disk of the same snapshot stays incremental, and exact."""
    vm = start_vm(VmDisk("vd0"), VmDisk("vd1"))
    source = source_of(vm)
    bases: dict[str, str | None] = {**full(source, "vd0", "vd1")}
    before = vm.content("vd1")
    vm.control.execute("block-dirty-bitmap-remove", {"node": vm.node("vd0"), "name": our_bitmaps(vm, "vd0")[0]})
    vm.write("vd1", 3 * MIB, b"changed")
    with frozen(source, bases, committed=True) as snapshot:
        assert (cause(snapshot, "vd0"), cause(snapshot, "vd1")) == ("bitmap-missing", "tracked")
        changes = assert_changes_complete(snapshot.disks["vd1"], before, vm.content("vd1"))
    assert units(changes) == {3 * MIB}


def test_qcow2_tracks_across_a_restart(start_vm: StartVm, source_of: MakeSource) -> None:
    """Bitmaps of a qcow2 disk are stored when QEMU ends in order: changes before and after it are found."""
    vm = start_vm(VmDisk("vd0"))
    source = source_of(vm)
    bases: dict[str, str | None] = {**full(source, "vd0")}
    before = vm.content("vd0")
    vm.write("vd0", MIB, b"before the restart")
    vm.quit()
    vm.start()
    vm.write("vd0", 5 * MIB, b"after the restart")
    with frozen(source, bases, committed=True) as snapshot:
        changes = assert_changes_complete(snapshot.disks["vd0"], before, vm.content("vd0"))
    assert units(changes) == {MIB, 5 * MIB}


def test_raw_tracks_as_long_as_qemu_lives(start_vm: StartVm, source_of: MakeSource) -> None:
    """A raw disk's bitmap is exact while QEMU lives; after a restart the disk is read in full, with the cause."""
    vm = start_vm(VmDisk("vd0", format="raw"))
    source = source_of(vm)
    bases: dict[str, str | None] = {**full(source, "vd0")}
    before = vm.content("vd0")
    vm.write("vd0", MIB, b"changed")
    with frozen(source, bases, committed=True) as snapshot:
        assert_changes_complete(snapshot.disks["vd0"], before, vm.content("vd0"))
        bases = {**tokens(snapshot)}
    vm.quit()
    vm.start()
    with frozen(source, bases, committed=False) as snapshot:
        assert cause(snapshot, "vd0") == "bitmap-missing"
        assert_same(content_of(snapshot.disks["vd0"]), vm.content("vd0"))


def test_an_external_snapshot_is_not_missed(start_vm: StartVm, source_of: MakeSource) -> None:
    """After somebody put an overlay on the disk, the base no longer counts: identity and bitmap say so."""
    vm = start_vm(VmDisk("vd0"))
    source = source_of(vm)
    bases: dict[str, str | None] = {**full(source, "vd0")}
    identity = machine_of(source).disks[0].identity
    overlay = vm.directory / "overlay.qcow2"
    taken = {"node-name": vm.node("vd0"), "snapshot-file": str(overlay), "snapshot-node-name": "overlay"}
    vm.control.execute("blockdev-snapshot-sync", taken)
    vm.write("vd0", MIB, b"into the overlay")
    assert machine_of(source).disks[0].identity != identity
    with frozen(source, bases, committed=False) as snapshot:
        assert cause(snapshot, "vd0") == "disk-replaced"
        raw = vm.directory / "overlay.raw"
        subprocess.run(["qemu-img", "convert", "-U", "-O", "raw", overlay, raw], check=True)
        assert_same(content_of(snapshot.disks["vd0"]), raw.read_bytes())
    assert list(source.reconcile(machine_of(source), {})) == []


def test_resizing_needs_a_full(start_vm: StartVm, source_of: MakeSource) -> None:
    """A disk whose size changed since the base is read in full; while it is frozen QEMU refuses to resize it."""
    vm = start_vm(VmDisk("vd0"))
    source = source_of(vm)
    bases: dict[str, str | None] = {**full(source, "vd0")}
    vm.resize("vd0", 12 * MIB)
    with frozen(source, bases, committed=True) as snapshot:
        assert cause(snapshot, "vd0") == "disk-resized"
        with pytest.raises(SourceConflict):
            vm.resize("vd0", 16 * MIB)
        assert_same(content_of(snapshot.disks["vd0"]), vm.content("vd0"))
        bases = {**tokens(snapshot)}
    with frozen(source, bases, committed=True) as snapshot:
        assert cause(snapshot, "vd0") == "tracked"


@pytest.mark.parametrize(("discard", "zeros"), [("unmap", True), ("ignore", False)])
def test_discards_count_only_when_qemu_obeys_them(
    start_vm: StartVm, source_of: MakeSource, discard: str, zeros: bool
) -> None:
    """With discard=unmap a trim is a change to zero; with discard=ignore nothing changed, and none is reported."""
    vm = start_vm(VmDisk("vd0", discard=discard))
    source = source_of(vm)
    vm.write("vd0", MIB, b"\x77" * MIB)
    bases: dict[str, str | None] = {**full(source, "vd0")}
    before = vm.content("vd0")
    vm.discard("vd0", MIB, MIB)
    with frozen(source, bases, committed=True) as snapshot:
        changes = assert_changes_complete(snapshot.disks["vd0"], before, vm.content("vd0"))
    assert [(c.start, c.length, c.zero) for c in changes] == ([(MIB, MIB, True)] if zeros else [])


def test_a_commit_brings_the_base_back(start_vm: StartVm, source_of: MakeSource) -> None:
    """After an overlay was taken and committed into the disk again, the changes since the base are complete."""
    vm = start_vm(VmDisk("vd0"))
    source = source_of(vm)
    bases: dict[str, str | None] = {**full(source, "vd0")}
    before = vm.content("vd0")
    taken = {"node-name": vm.node("vd0"), "snapshot-file": str(vm.directory / "o"), "snapshot-node-name": "overlay"}
    vm.control.execute("blockdev-snapshot-sync", taken)
    vm.write("vd0", 3 * MIB, b"into the overlay")
    vm.control.execute("block-commit", {"job-id": "commit", "device": "overlay"})
    vm.control.wait_event("BLOCK_JOB_READY", lambda data: data["device"] == "commit", 30)
    vm.control.execute("block-job-complete", {"device": "commit"})
    vm.control.wait_event("BLOCK_JOB_COMPLETED", lambda data: data["device"] == "commit", 30)
    with frozen(source, bases, committed=True) as snapshot:
        assert cause(snapshot, "vd0") == "tracked"
        changes = assert_changes_complete(snapshot.disks["vd0"], before, vm.content("vd0"))
    assert units(changes) == {3 * MIB}


def test_old_qcow2_tracks_as_long_as_qemu_lives(start_vm: StartVm, source_of: MakeSource) -> None:
    """A version 2 image cannot store bitmaps: like a raw disk, it is read in full after a restart."""
    vm = start_vm(VmDisk("vd0", create_options=("-o", "compat=0.10")))
    source = source_of(vm)
    bases: dict[str, str | None] = {**full(source, "vd0")}
    with frozen(source, bases, committed=True) as snapshot:
        assert cause(snapshot, "vd0") == "tracked"
        bases = {**tokens(snapshot)}
    vm.quit()
    vm.start()
    with frozen(source, bases, committed=True) as snapshot:
        assert cause(snapshot, "vd0") == "bitmap-missing"


def test_a_raw_data_file_tracks(start_vm: StartVm, source_of: MakeSource, tmp_path: Path) -> None:
    """A qcow2 image whose data is in a raw file beside it is tracked, too."""
    data = f"data_file={tmp_path / 'data.raw'},data_file_raw=on"
    vm = start_vm(VmDisk("vd0", create_options=("-o", data)))
    source = source_of(vm)
    bases: dict[str, str | None] = {**full(source, "vd0")}
    before = vm.content("vd0")
    vm.write("vd0", MIB, b"changed")
    with frozen(source, bases, committed=True) as snapshot:
        assert cause(snapshot, "vd0") == "tracked"
        assert_changes_complete(snapshot.disks["vd0"], before, vm.content("vd0"))
