"""What the port is told of machines and their disks."""

from __future__ import annotations

import shutil

import pytest

from adapters.errors import SourceNotFound
from adapters.hyperv.cluster import Hosts
from adapters.hyperv.facts import Machine
from adapters.hyperv.inventory import Found, find_machine, list_machines, version_of
from adapters.hyperv.jobs import JobWaiter
from adapters.port import DiskFact
from tests.support.hyperv.runner import world_runners
from tests.support.hyperv.world import MIB, HypervWorld


def hosts_of(world: HypervWorld) -> Hosts:
    """The hosts of a world, without a network."""
    return Hosts(world_runners(world).of, "hv1", JobWaiter(sleep=lambda _: None), cluster=world.cluster)


def found_in(world: HypervWorld, machine: str) -> Found:
    """A machine as it is looked up."""
    return find_machine(hosts_of(world), machine, tracking=True)


def fact_of(world: HypervWorld, machine: str, place: str) -> DiskFact:
    """The fact of the disk in a place."""
    return next(disk.fact for disk in found_in(world, machine).disks if disk.attached.place == place)


def test_machines_are_guids_and_disks_are_places(world: HypervWorld) -> None:
    """Pitfall: two machines of one name stay two, each with its own disks."""
    first, second = world.add_machine("web", MIB, 2 * MIB), world.add_machine("web", 3 * MIB)
    listing = list_machines(hosts_of(world), tracking=True)
    facts = {found.fact.key: found.fact for found in listing.machines}
    assert set(facts) == {first, second}
    assert [disk.size_bytes for disk in facts[first].disks] == [MIB, 2 * MIB]
    assert [disk.tracking for disk in facts[second].disks] == ["rct"]


def test_a_disk_keeps_key_and_identity_through_checkpoint_move_and_growth(cluster: HypervWorld) -> None:
    """A checkpoint changes the path, a migration the host, an administrator the size: it is the same disk."""
    machine = cluster.add_machine("web", MIB)
    place = cluster.place(machine)
    before = fact_of(cluster, machine, place)
    cluster.plant_checkpoint(machine)
    cluster.migrate(machine, "hv3")
    cluster.resize(machine, place, 8 * MIB)
    now = fact_of(cluster, machine, place)
    assert (now.key, now.identity, now.label) == (before.key, before.identity, before.label)
    assert now.size_bytes == 8 * MIB


def test_another_disk_in_the_place_has_the_key_and_another_identity(world: HypervWorld) -> None:
    """The plan sees a replaced disk, whatever its size."""
    machine = world.add_machine("web", MIB)
    place = world.place(machine)
    before = fact_of(world, machine, place)
    world.replace_disk(machine, place)
    now = fact_of(world, machine, place)
    assert now.key == before.key
    assert now.identity != before.identity


def test_disks_that_no_checkpoint_holds_say_why_and_what_to_do(world: HypervWorld) -> None:
    """Pitfall: a pass-through disk and a shared one are in the inventory, excluded with reason and way out."""
    machine = world.add_machine("web", MIB)
    passthrough = world.add_passthrough(machine)
    shared = world.add_disk(machine, MIB, shared=True)
    for place, word in ((passthrough, "pass-through"), (shared, "shared")):
        exclusion = fact_of(world, machine, place).exclusion
        assert exclusion is not None
        assert word in exclusion.reason
        assert "agent" in exclusion.way_out
    assert fact_of(world, machine, world.place(machine)).exclusion is None


def test_a_disk_whose_file_is_gone_is_told_and_hides_no_other(world: HypervWorld) -> None:
    """The machine's other disks stay what they are."""
    machine = world.add_machine("web", MIB, MIB)
    lost, kept = world.place(machine, 0), world.place(machine, 1)
    world.storage.local(world.disk(machine, lost).live).unlink()
    exclusion = fact_of(world, machine, lost).exclusion
    assert exclusion is not None
    assert "cannot find" in exclusion.reason
    assert fact_of(world, machine, kept).exclusion is None


@pytest.mark.parametrize(
    ("version", "tracking", "expected"),
    [
        ("9.0", True, "rct"),
        ("6.2", True, "rct"),
        ("5.0", True, "compare"),
        ("10.0", True, "rct"),
        ("9.0", False, "compare"),
    ],
)
def test_changes_are_tracked_where_machine_and_host_can(
    world: HypervWorld, version: str, tracking: bool, expected: str
) -> None:
    """Pitfall: a machine of an old configuration version, or an old host, has its disks compared, not tracked."""
    machine = world.add_machine("old", MIB, version=version)
    found = find_machine(hosts_of(world), machine, tracking=tracking)
    assert [disk.fact.tracking for disk in found.disks] == [expected]


def test_two_disks_of_one_identity_are_compared(world: HypervWorld) -> None:
    """A copied file has its original's identity: a reference point could mean either, so neither is trusted to it."""
    machine = world.add_machine("twins", MIB, MIB, MIB)
    first, second, other = (world.place(machine, number) for number in range(3))
    original, copy = (world.storage.local(world.disk(machine, place).live) for place in (first, second))
    shutil.copyfile(original, copy)
    assert [fact_of(world, machine, place).tracking for place in (first, second, other)] == [
        "compare",
        "compare",
        "rct",
    ]


def test_a_node_that_does_not_answer_hides_only_its_own_machines(cluster: HypervWorld) -> None:
    """The others are listed, and the node that is silent is told by its name."""
    cluster.add_machine("one", MIB, node="hv1")
    kept = cluster.add_machine("two", MIB, node="hv2")
    cluster.faults.silent.add("hv1")
    hosts = Hosts(world_runners(cluster).of, "hv2", JobWaiter(sleep=lambda _: None), cluster=True)
    listing = list_machines(hosts, tracking=True)
    assert [found.fact.key for found in listing.machines] == [kept]
    assert listing.silent == ("HV1",)


def test_a_machine_that_moves_while_it_is_listed_is_listed_once(cluster: HypervWorld) -> None:
    """Pitfall: a live migration to a node that was asked already, or to one that will be asked again."""
    missed = cluster.add_machine("to a node that was asked", MIB, node="hv2")
    twice = cluster.add_machine("to a node that will be", MIB, node="hv1")
    cluster.faults.then("machines", lambda: cluster.migrate(missed, "hv1"), after=1)
    cluster.faults.then("machines", lambda: cluster.migrate(twice, "hv3"))
    listing = list_machines(hosts_of(cluster), tracking=True)
    assert sorted(found.fact.key for found in listing.machines) == sorted([missed, twice])
    assert listing.silent == ()


def test_headers_of_all_machines_of_a_host_are_read_together(world: HypervWorld) -> None:
    """A call is a process at the host: their number does not grow with the machines."""
    for number in range(5):
        world.add_machine(f"web{number}", MIB)
    list_machines(hosts_of(world), tracking=True)
    assert [script for _, script in world.calls] == ["machines", "disk-files"]


def test_a_machine_that_is_nowhere_is_not_found(cluster: HypervWorld) -> None:
    """After all nodes were asked."""
    with pytest.raises(SourceNotFound) as raised:
        find_machine(hosts_of(cluster), "00000000-0000-0000-0000-000000000000", tracking=True)
    assert raised.value.code == "machine-missing"


@pytest.mark.parametrize(("version", "numbers"), [("10.0", (10, 0)), ("6.2", (6, 2)), ("", ()), ("x.1", ())])
def test_versions_compare_as_numbers(version: str, numbers: tuple[int, ...]) -> None:
    """10.0 is newer than 6.2, and what is no version is older than all."""
    assert version_of(Machine("m", "n", "off", version, "hv1", "", (), ())) == numbers
