"""The simulated hosts are what the tests take them for."""

from __future__ import annotations

import pytest

from adapters.hyperv.control.scripts import names
from tests.support import vhdx_files
from tests.support.hyperv.answers import ANSWERS
from tests.support.hyperv.disks import merged_units
from tests.support.hyperv.world import MIB, UNIT_BYTES, HypervWorld


def test_every_script_of_the_package_has_an_answer_and_no_other_has() -> None:
    """A script that nothing answers would be tested by nothing."""
    assert sorted(ANSWERS) == names()


def test_a_checkpoint_keeps_what_was_and_its_merge_what_is(world: HypervWorld) -> None:
    """The frozen file does not change under the guest's writes; merging loses none of them."""
    machine = world.add_machine("web", 4 * MIB)
    place = world.place(machine)
    world.write(machine, place, 1000, b"before")
    checkpoint = world.plant_checkpoint(machine, "recovery", "ours")
    world.write(machine, place, 1003, b"AFTER")
    frozen = vhdx_files.content(world.storage.local(checkpoint.files[place]))
    assert frozen[1000:1006] == b"before"
    world.machines[machine].merge(checkpoint)
    assert world.content(machine, place)[1000:1008] == b"befAFTER"
    assert len(world.disk(machine, place).chain) == 1


def test_checkpoints_merge_in_any_order(world: HypervWorld) -> None:
    """Removing an older one changes what a younger one's frozen file is called, never what is in it."""
    machine = world.add_machine("web", 4 * MIB)
    place = world.place(machine)
    texts = [b"one", b"two", b"three", b"four"]
    checkpoints = []
    for text in texts:
        world.write(machine, place, 0, text.ljust(8))
        checkpoints.append(world.plant_checkpoint(machine))
    world.write(machine, place, 0, b"live    ")
    for gone in (1, 0, 3):
        world.machines[machine].merge(checkpoints[gone])
        assert world.content(machine, place)[:8] == b"live    "
    frozen = vhdx_files.content(world.storage.local(checkpoints[2].files[place]))
    assert frozen[:8] == b"three   "


def test_changes_are_the_writes_between_two_moments(world: HypervWorld) -> None:
    """Neither what came before the identifier nor what came after the freezing is told."""
    machine = world.add_machine("web", 8 * MIB)
    place = world.place(machine)
    disk = world.disk(machine, place)
    world.write(machine, place, 0, b"before")
    rct = disk.new_moment()
    world.write(machine, place, 2 * MIB - 1, b"between")
    checkpoint = world.plant_checkpoint(machine)
    world.write(machine, place, 5 * MIB, b"after")
    assert disk.changed(checkpoint.files[place], rct) == [(2 * MIB - UNIT_BYTES, 2 * UNIT_BYTES)]
    assert disk.changed(disk.live, rct)[-1] == (5 * MIB, UNIT_BYTES)
    with pytest.raises(LookupError):
        disk.changed(disk.live, "rctX:never")


def test_units_end_at_the_disks_end() -> None:
    """A disk need not be whole units."""
    assert merged_units([(UNIT_BYTES, 10)], UNIT_BYTES + 512) == [(UNIT_BYTES, 512)]


def test_a_grown_disk_reads_zeros_behind_and_keeps_its_tracking(world: HypervWorld) -> None:
    """Resizing goes to the file that the guest writes to; the merge carries it to the base."""
    machine = world.add_machine("web", 2 * MIB)
    place = world.place(machine)
    checkpoint = world.plant_checkpoint(machine)
    world.resize(machine, place, 6 * MIB)
    world.write(machine, place, 5 * MIB, b"new")
    world.machines[machine].merge(checkpoint)
    content = world.content(machine, place)
    assert len(content) == 6 * MIB
    assert content[5 * MIB : 5 * MIB + 3] == b"new"
    assert not any(content[: 5 * MIB])
