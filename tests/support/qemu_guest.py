"""A running guest that writes to two disks in turn (see `boot_guest`)."""

from __future__ import annotations

from adapters.qemu.views import RunState
from tests.support.boot_guest import ERRORS_ADDRESS, ROUNDS_ADDRESS, boot_sector
from tests.support.eventually import eventually
from tests.support.qemu_vm import MIB, QemuVm, VmDisk

GUEST_DISKS = (
    VmDisk("boot", format="raw", size_bytes=MIB, options=",bootindex=1"),
    VmDisk("left", options=",bootindex=2"),
    VmDisk("right", options=",bootindex=3"),
)


def boot(vm: QemuVm, *, lba_mask: int) -> None:
    """Put the guest on the boot disk of a machine that has GUEST_DISKS, and let it run."""
    vm.write("boot", 0, boot_sector(lba_mask))
    vm.control.execute("cont")
    make_progress(vm, 10)


def rounds(vm: QemuVm) -> int:
    """How often the guest has written to both disks."""
    return vm.memory_word(ROUNDS_ADDRESS)


def refused_writes(vm: QemuVm) -> int:
    """How many of its writes the guest saw fail."""
    return vm.memory_word(ERRORS_ADDRESS)


def run_state(vm: QemuVm) -> str:
    """What QEMU says the guest does."""
    return vm.control.query("query-status", RunState).status


def make_progress(vm: QemuVm, more: int) -> None:
    """Wait until the guest has done so many rounds more."""
    goal = rounds(vm) + more
    eventually(lambda: rounds(vm) >= goal, "the guest goes on")
