"""Scratch space that runs out: the snapshot gives way, the guest goes on."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from adapters.errors import AdapterError, SourceDenied, SourceInvalid, SourceLimit, SourceUnavailable
from adapters.qemu.guard import free_bytes
from adapters.qemu.marks import Place
from adapters.qemu.parts import start_server
from adapters.qemu.views import Job
from tests.adapters.qemu.conftest import MakeSource, StartVm
from tests.adapters.qemu.test_conformance import QemuHarness
from tests.conformance.source_harness import assert_changes_complete
from tests.support.eventually import eventually
from tests.support.qemu_backup import cause, freeze, frozen, full, machine_of, our_bitmaps
from tests.support.qemu_guest import (
    GUEST_DISKS,
    boot,
    make_progress,
    refused_writes,
    run_state,
)
from tests.support.qemu_vm import MIB, VmDisk


@pytest.fixture
def small_scratch(tmp_path: Path) -> Iterator[Path]:
    """A scratch directory of 4 MiB."""
    directory = tmp_path / "s"
    directory.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", directory], check=False, capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"needs the right to mount a small tmpfs: {mounted.stderr.strip()}")
    yield directory
    subprocess.run(["umount", "--lazy", directory], check=True)


def failure_of(use: Callable[[], object]) -> AdapterError:
    """Wait until `use` raises, and return what."""

    def attempt() -> AdapterError | None:
        try:
            use()
        except AdapterError as error:
            return error
        return None

    return eventually(attempt, "the snapshot gives way")


def test_a_snapshot_gives_way_before_the_guest(start_vm: StartVm, source_of: MakeSource, small_scratch: Path) -> None:
    """When the reserve is touched the snapshot is dropped: no guest write fails, and the old base stays complete."""
    vm = start_vm(VmDisk("vd0"))
    vm.write("vd0", 0, b"\x11" * 8 * MIB)
    source = source_of(vm, scratch=small_scratch, reserve=2 * MIB)
    bases: dict[str, str | None] = {**full(source, "vd0")}
    before = vm.content("vd0")
    snapshot = freeze(source, bases)
    reader = snapshot.disks["vd0"].open()
    for at in range(48):
        vm.write("vd0", at * 65536, b"\x22" * 512)
        if free_bytes(small_scratch) < 2 * MIB:
            break
    for use in (snapshot.confirm, snapshot.disks["vd0"].open, lambda: reader.pread_into(0, memoryview(bytearray(512)))):
        error = failure_of(use)
        assert (type(error), error.code) == (SourceLimit, "scratch-full")
    reader.close()
    eventually(lambda: not vm.control.query("query-jobs", list[Job]), "the job is ended")
    vm.write("vd0", 5 * MIB, b"\x33" * 2 * MIB)
    snapshot.release(committed=False)
    assert not QemuHarness.leftovers_of(vm)
    assert len(our_bitmaps(vm, "vd0")) == 1
    with frozen(source, bases, committed=True) as again:
        assert cause(again, "vd0") == "tracked"
        assert_changes_complete(again.disks["vd0"], before, vm.content("vd0"))


def test_a_guest_paused_by_full_scratch_goes_on(start_vm: StartVm, source_of: MakeSource, small_scratch: Path) -> None:
    """When scratch fills up faster than we look, QEMU pauses the guest; we resume it, and it sees no error."""
    vm = start_vm(*GUEST_DISKS)
    for disk in ("left", "right"):
        vm.write(disk, 0, b"\x11" * 8 * MIB)
    source = source_of(vm, scratch=small_scratch, reserve=0)
    boot(vm, lba_mask=0x3FFF)
    snapshot = freeze(source, {"left": None, "right": None})
    error = failure_of(snapshot.confirm)
    assert (type(error), error.code) == (SourceLimit, "scratch-full")
    assert "paused" in error.why
    snapshot.release(committed=False)
    make_progress(vm, 50)
    assert run_state(vm) == "running"
    assert refused_writes(vm) == 0
    assert not QemuHarness.leftovers_of(vm)


def test_a_guest_left_paused_by_a_dead_run_goes_on(
    start_vm: StartVm, source_of: MakeSource, small_scratch: Path
) -> None:
    """When our process is dead as scratch fills up, reconcile resumes the guest, and says so."""
    vm = start_vm(*GUEST_DISKS)
    for disk in ("left", "right"):
        vm.write(disk, 0, b"\x11" * 8 * MIB)
    source = source_of(vm, scratch=small_scratch, reserve=0)
    boot(vm, lba_mask=0x3FFF)
    machine = machine_of(source)
    freeze(source, {"left": None, "right": None})
    source.close()
    eventually(lambda: run_state(vm) == "io-error", "the guest is paused")
    assert "resumed" in [leftover.action for leftover in source.reconcile(machine, {})]
    make_progress(vm, 50)
    assert refused_writes(vm) == 0


def test_too_little_scratch_is_refused_before_anything(start_vm: StartVm, source_of: MakeSource) -> None:
    """A snapshot is not begun, and a check fails, when the reserve is not even free at the start."""
    vm = start_vm(VmDisk("vd0"))
    source = source_of(vm, reserve=1 << 60)
    with pytest.raises(SourceLimit):
        source.check()
    with pytest.raises(SourceLimit) as caught:
        freeze(source, {"vd0": None})
    assert caught.value.code == "scratch-full"
    assert not our_bitmaps(vm, "vd0")


def test_a_scratch_path_too_long_for_a_socket(start_vm: StartVm, source_of: MakeSource) -> None:
    """With a scratch path that no socket can have, the socket is beside QMP's, and it goes like everything else."""
    vm = start_vm(VmDisk("vd0"))
    vm.write("vd0", MIB, b"content" * 1000)
    source = source_of(vm, scratch=vm.directory / ("long" * 25))
    snapshot = freeze(source, {"vd0": None})
    assert list(vm.directory.glob("holdfast-*.nbd"))
    with closing(snapshot.disks["vd0"].open()) as reader:
        buffer = bytearray(7000)
        reader.pread_into(MIB, memoryview(buffer))
    assert bytes(buffer) == b"content" * 1000
    snapshot.release(committed=False)
    assert not list(vm.directory.glob("holdfast-*.nbd"))
    assert not our_bitmaps(vm, "vd0")


def test_no_path_short_enough_for_a_socket(start_vm: StartVm) -> None:
    """Where neither directory can hold a socket, that is what we say, before QEMU is asked."""
    vm = start_vm(VmDisk("vd0"))
    far = vm.directory / ("long" * 25)
    with pytest.raises(SourceInvalid) as caught:
        start_server(vm.control, Place(far, "vm", far))
    assert caught.value.code == "socket-path-long"


def test_a_scratch_directory_that_qemu_may_not_use(start_vm: StartVm, source_of: MakeSource) -> None:
    """When QEMU's user may not write to the scratch directory, that is what we say, and nothing is left behind."""
    vm = start_vm(VmDisk("vd0"))
    try:
        vm.restart("-runas", "nobody")
    except AssertionError:
        pytest.skip("needs root, to start QEMU as another user")
    source = source_of(vm)
    vm.scratch.mkdir(mode=0o700)
    with pytest.raises(SourceDenied) as caught:
        freeze(source, {"vd0": None})
    assert caught.value.code == "scratch-denied"
    assert not QemuHarness.leftovers_of(vm)
    assert not our_bitmaps(vm, "vd0")


def test_a_scratch_directory_that_vanishes(start_vm: StartVm, source_of: MakeSource) -> None:
    """When the scratch directory cannot be watched any more the snapshot does not claim to hold."""
    vm = start_vm(VmDisk("vd0"))
    source = source_of(vm)
    snapshot = freeze(source, {"vd0": None})
    vm.scratch.rename(vm.directory / "elsewhere")
    error = failure_of(snapshot.confirm)
    assert (type(error), error.code) == (SourceUnavailable, "scratch-gone")
    (vm.directory / "elsewhere").rename(vm.scratch)
    snapshot.release(committed=False)
    assert not QemuHarness.leftovers_of(vm)


def test_a_scratch_directory_that_cannot_be_made(start_vm: StartVm, source_of: MakeSource) -> None:
    """A scratch directory whose place is taken by a file is refused before anything is begun."""
    vm = start_vm(VmDisk("vd0"))
    vm.scratch.write_bytes(b"in the way")
    with pytest.raises(SourceDenied) as caught:
        freeze(source_of(vm), {"vd0": None})
    assert caught.value.code == "scratch-denied"
    assert not our_bitmaps(vm, "vd0")
