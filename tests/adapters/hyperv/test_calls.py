"""What one host is asked, and that its answers are taken for what they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from adapters.errors import AdapterError, SourceConflict, SourceDenied, SourceInvalid, SourceNotFound
from adapters.hyperv.calls import MOST_RANGES, Calls
from adapters.hyperv.facts import AttachedDisk, DiskFile, ReferencePoint, Unread
from adapters.hyperv.jobs import JobWaiter
from tests.support.hyperv.faults import short, untidy
from tests.support.hyperv.runner import WorldRunner
from tests.support.hyperv.world import MIB, UNIT_BYTES, HypervWorld

NAMES = ["Zürich 'prod' \"№ 5\"", "日本語", "a`$(b);c", "Ω\N{RIGHT-TO-LEFT OVERRIDE}x"]


@pytest.fixture
def calls(world: HypervWorld) -> Calls:
    """The calls to the host."""
    return Calls(WorldRunner(world, "hv1"))


class Told:
    """A host that answers everything alike."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def run(self, script: str, arguments: Mapping[str, object]) -> Any:
        return self.answer


def frozen(world: HypervWorld, calls: Calls, machine: str) -> str:
    """A recovery checkpoint of a machine."""
    started = calls.create_checkpoint(machine, "crash", leave_out=False)
    return JobWaiter(sleep=lambda _: None).wait(calls, started, "no checkpoint", seconds=60)[0]


def converted(calls: Calls, checkpoint: str) -> str:
    """The reference point in a checkpoint's place."""
    started = calls.convert_to_reference_point(checkpoint)
    return JobWaiter(sleep=lambda _: None).wait(calls, started, "not converted", seconds=60)[0]


def test_machines_of_one_name_are_told_apart_by_their_guids(world: HypervWorld, calls: Calls) -> None:
    """Pitfall: names are not unique. Each machine is its GUID, in one spelling whatever the host's."""
    ids = {world.add_machine("web", MIB), world.add_machine("web", MIB)}
    told = calls.machines()
    assert {machine.id for machine in told} == ids
    assert [machine.name for machine in told] == ["web", "web"]
    assert all(machine.id == machine.id.lower() for machine in told)


@pytest.mark.parametrize("name", NAMES)
def test_a_name_of_any_script_and_with_quotes_arrives_as_it_is(world: HypervWorld, calls: Calls, name: str) -> None:
    """Pitfall: names beyond code page 437 and with quotes are data, from the host and to it."""
    machine = world.add_machine(name, MIB)
    assert calls.machine(machine).name == name


def test_a_machine_that_is_elsewhere_is_not_found(world: HypervWorld, calls: Calls) -> None:
    """A host that does not have a machine says so, with the code that a move is recognised by."""
    with pytest.raises(SourceNotFound) as raised:
        calls.machine("00000000-0000-0000-0000-000000000000")
    assert raised.value.code == "machine-missing"


def test_headers_are_read_together_and_a_lost_file_is_told(world: HypervWorld, calls: Calls) -> None:
    """One file that is gone keeps no other's header away."""
    machine = world.add_machine("web", MIB, 3 * MIB)
    paths = [disk.path for disk in calls.machine(machine).disks]
    told = calls.disk_files([*paths, "C:\\VMs\\gone.vhdx"])
    sizes = [header.size_bytes for path in paths if isinstance(header := told[path], DiskFile)]
    assert sizes == [MIB, 3 * MIB]
    assert isinstance(told["C:\\VMs\\gone.vhdx"], Unread)
    with pytest.raises(SourceNotFound, match="cannot find"):
        calls.disk_file("C:\\VMs\\gone.vhdx")


def test_the_files_of_an_automatic_checkpoint_have_the_identity_of_their_disk(world: HypervWorld, calls: Calls) -> None:
    """The guest writes to an .avhdx then: identity and size are the disk's, the path is not what it is known by."""
    machine = world.add_machine("web", MIB)
    before = calls.disk_file(calls.machine(machine).disks[0].path)
    world.plant_checkpoint(machine)
    now = calls.disk_file(calls.machine(machine).disks[0].path)
    assert now.path.endswith(".avhdx")
    assert now.parent_path == before.path
    assert (now.virtual_disk_id, now.size_bytes) == (before.virtual_disk_id, before.size_bytes)


def test_a_checkpoint_freezes_what_is_then_turned_into_a_reference_point(world: HypervWorld, calls: Calls) -> None:
    """The frozen file is what was; after the conversion the checkpoint is gone, and the point knows each disk."""
    machine = world.add_machine("web", 4 * MIB)
    place = world.place(machine)
    checkpoint = frozen(world, calls, machine)
    disks = calls.checkpoint_disks(checkpoint)
    assert [(disk.place, disk.kind) for disk in disks] == [(place, "file")]
    assert [found.kind for found in calls.checkpoints(machine)] == ["recovery"]
    world.write(machine, place, 0, b"later")
    point = converted(calls, checkpoint)
    assert calls.checkpoints(machine) == ()
    (told,) = calls.reference_points(machine)
    assert told.id == point
    identity = calls.disk_file(calls.machine(machine).disks[0].path).virtual_disk_id
    assert told.rct_of(identity, "") is not None
    assert world.content(machine, place)[:5] == b"later"


def test_changes_are_told_in_pages_that_end_where_they_say(world: HypervWorld, calls: Calls) -> None:
    """Pitfall: a host may process less than it was asked; and a page never has more ranges than a script may tell."""
    size = (MOST_RANGES + 8) * 2 * UNIT_BYTES
    machine = world.add_machine("web", size)
    place = world.place(machine)
    converted(calls, frozen(world, calls, machine))
    (point,) = calls.reference_points(machine)
    units = range(0, (MOST_RANGES + 8) * 2, 2)
    world.disk(machine, place).writes += [(unit * UNIT_BYTES, 1) for unit in units]
    path, rct = calls.machine(machine).disks[0].path, point.rct_ids[0]
    first = calls.changes(path, rct, 0, size)
    assert len(first.ranges) == MOST_RANGES
    second = calls.changes(path, rct, first.processed, size - first.processed)
    assert [start for start, _ in (*first.ranges, *second.ranges)] == [unit * UNIT_BYTES for unit in units]
    assert first.processed + second.processed == size
    world.faults.page = short(3 * UNIT_BYTES)
    page = calls.changes(path, rct, 0, size)
    assert page.processed == 3 * UNIT_BYTES
    assert page.ranges == ((0, UNIT_BYTES), (2 * UNIT_BYTES, UNIT_BYTES))


def test_untidy_and_empty_change_lists_are_told_as_they_are(world: HypervWorld, calls: Calls) -> None:
    """Pitfall: ranges may come in any order and overlap, and there may be none; tidying is the flow's."""
    machine = world.add_machine("web", 4 * MIB)
    place = world.place(machine)
    converted(calls, frozen(world, calls, machine))
    (point,) = calls.reference_points(machine)
    path = calls.machine(machine).disks[0].path
    assert calls.changes(path, point.rct_ids[0], 0, 4 * MIB).ranges == ()
    world.write(machine, place, MIB, b"x")
    world.write(machine, place, 3 * MIB, b"y")
    world.faults.page = untidy
    ranges = calls.changes(path, point.rct_ids[0], 0, 4 * MIB).ranges
    assert ranges != tuple(sorted(ranges))
    assert {start // MIB for start, _ in ranges} == {1, 3}


@pytest.mark.parametrize("processed", [0, -1, MIB + 1])
def test_a_page_without_progress_or_beyond_the_question_is_refused(processed: int) -> None:
    """A loop over pages must end, and never skip what was not asked."""
    calls = Calls(Told({"processed": processed, "ranges": []}))
    with pytest.raises(SourceInvalid) as raised:
        calls.changes("C:\\a.vhdx", "rctX", 0, MIB)
    assert raised.value.code == "answer-malformed"


def test_a_forgotten_tracking_identifier_is_a_conflict(world: HypervWorld, calls: Calls) -> None:
    """Pitfall: the reference point is gone (another product's work). The host cannot tell, and says so."""
    machine = world.add_machine("web", MIB)
    converted(calls, frozen(world, calls, machine))
    (point,) = calls.reference_points(machine)
    world.delete_reference_points(machine)
    assert calls.reference_points(machine) == ()
    with pytest.raises(SourceConflict) as raised:
        calls.changes(calls.machine(machine).disks[0].path, point.rct_ids[0], 0, MIB)
    assert raised.value.code == "changes-unknown"


def test_a_reference_point_with_fewer_tracking_ids_than_disks_knows_none(world: HypervWorld, calls: Calls) -> None:
    """Pitfall: the arrays are parallel only when they are equally long; else nobody can say which disk lacks its id."""
    machine = world.add_machine("web", MIB)
    world.add_disk(machine, MIB, tracked=False)
    converted(calls, frozen(world, calls, machine))
    (point,) = calls.reference_points(machine)
    assert (len(point.disk_ids), len(point.rct_ids)) == (2, 1)
    assert not point.complete
    assert [point.rct_of(disk, "") for disk in point.disk_ids] == [None, None]


def test_a_reference_point_knows_no_id_of_a_disk_it_has_twice() -> None:
    """Copies of a file share its identity: which of them an id belongs to cannot be told."""
    point = ReferencePoint("p", "m", ("a", "b", "a"), ("1", "2", "3"))
    assert (point.rct_of("a", ""), point.rct_of("b", ""), point.rct_of("c", "")) == (None, "2", None)


def test_a_disk_of_the_host_fails_a_checkpoint_unless_it_is_left_out_knowingly(
    world: HypervWorld, calls: Calls
) -> None:
    """Pitfall: a pass-through disk is never skipped silently."""
    machine = world.add_machine("web", MIB)
    passthrough = world.add_passthrough(machine)
    waiter = JobWaiter(sleep=lambda _: None)
    with pytest.raises(SourceInvalid, match="cannot be in a checkpoint"):
        waiter.finish(calls, calls.create_checkpoint(machine, "crash", leave_out=False), "none", seconds=60)
    started = calls.create_checkpoint(machine, "crash", leave_out=True)
    (checkpoint,) = waiter.wait(calls, started, "none", seconds=60)
    kinds = {disk.place: disk.kind for disk in calls.checkpoint_disks(checkpoint)}
    assert kinds == {world.place(machine): "file", passthrough: "passthrough"}


@pytest.mark.parametrize(
    ("value", "kind", "code"),
    [
        (32775, SourceConflict, "machine-busy"),
        (32769, SourceDenied, "method-denied"),
        (32779, SourceConflict, "file-unavailable"),
        (4711, SourceInvalid, "method-refused"),
    ],
)
def test_a_method_that_refuses_is_an_error_with_its_number(value: int, kind: type[AdapterError], code: str) -> None:
    """A return value that is neither 0 nor 4096 did nothing: it is never taken for a start."""
    calls = Calls(Told({"return_value": value, "job": None, "affected": []}))
    with pytest.raises(kind, match=str(value)) as raised:
        calls.destroy_checkpoint("x")
    assert raised.value.code == code


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        {},
        {"items": None},
        {"items": [{"id": 5}]},
        {"items": [{"place": "a/0/0", "path": "C:\\a.vhdx", "kind": "tape"}]},
    ],
)
def test_an_answer_of_another_shape_is_refused(answer: Any) -> None:
    """What a host says is checked before it is a fact."""
    with pytest.raises(SourceInvalid) as raised:
        Calls(Told(answer)).checkpoint_disks("x")
    assert raised.value.code == "answer-malformed"


def test_a_started_job_must_have_a_name() -> None:
    """4096 without a job would be waited for for ever, or not at all."""
    with pytest.raises(SourceInvalid, match="started a job"):
        Calls(Told({"return_value": 4096})).destroy_checkpoint("x")


def test_identifiers_have_one_spelling_and_other_strings_their_own() -> None:
    """Only a whole GUID is respelled: a path with one in it stays as the host has it."""
    path = "C:\\VMs\\0AAC3C22-97AE-4BBD-B6DB-B84F2BAD0D0F.vhdx"
    told = {"items": [{"place": "{0AAC3C22-97AE-4BBD-B6DB-B84F2BAD0D0F}", "path": path, "kind": "file"}]}
    assert Calls(Told(told)).checkpoint_disks("x") == (
        AttachedDisk("0aac3c22-97ae-4bbd-b6db-b84f2bad0d0f", path, "file"),
    )
