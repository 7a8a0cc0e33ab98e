"""All disks at one moment, while a real guest writes to them."""

from __future__ import annotations

import struct

from adapters.port import DiskSnapshot
from tests.adapters.qemu.conftest import MakeSource, StartVm
from tests.conformance.source_harness import assert_changes_complete, read, reading
from tests.support.qemu_backup import assert_same, cause, content_of, frozen, tokens
from tests.support.qemu_guest import GUEST_DISKS, boot, make_progress, refused_writes, rounds
from tests.support.qemu_vm import QemuVm


def start(start_vm: StartVm, lba_mask: int) -> QemuVm:
    """Boot the guest."""
    vm = start_vm(*GUEST_DISKS)
    boot(vm, lba_mask=lba_mask)
    return vm


def counter(disk: DiskSnapshot) -> int:
    """The round whose write was the last before the moment."""
    with reading(disk) as reader:
        return int(struct.unpack("<I", read(reader, 0, 4))[0])


def test_two_disks_have_one_moment(start_vm: StartVm, source_of: MakeSource) -> None:
    """The guest writes a counter to one disk, then to the other: frozen, they are at most that one write apart."""
    vm = start(start_vm, lba_mask=0)
    source = source_of(vm)
    seen = []
    for _ in range(20):
        with frozen(source, {"left": None, "right": None}, committed=True) as snapshot:
            left, right = (counter(snapshot.disks[key]) for key in ("left", "right"))
            make_progress(vm, 3)
        assert left - right in (0, 1)
        assert left < rounds(vm)
        seen.append(left)
    assert seen == sorted(set(seen))
    assert refused_writes(vm) == 0


def test_incrementals_follow_a_running_guest(start_vm: StartVm, source_of: MakeSource) -> None:
    """Point after point, the changes applied to the last point give the frozen disk, as read in full."""
    vm = start(start_vm, lba_mask=0x3FFF)
    source = source_of(vm)
    bases: dict[str, str | None] = {"left": None, "right": None}
    contents: dict[str, bytes] = {}
    for _ in range(5):
        with frozen(source, bases, committed=True) as snapshot:
            make_progress(vm, 20)
            for key, disk in snapshot.disks.items():
                now = content_of(disk)
                if contents.get(key) is not None:
                    assert cause(snapshot, key) == "tracked"
                    assert_changes_complete(disk, contents[key], now)
                contents[key] = now
            make_progress(vm, 20)
            assert_same(content_of(snapshot.disks["left"]), contents["left"])
            bases = {**tokens(snapshot)}
    assert refused_writes(vm) == 0
