"""Backups of simulated Hyper-V machines: consistency, which disks are read how, and what becomes of what was made."""

from __future__ import annotations

import pytest

from adapters.errors import AdapterError, SourceConflict, SourceInvalid, SourceUnavailable
from adapters.hyperv.marks import is_ours
from adapters.port import SnapshotRequest, Tracked, Untracked
from tests.adapters.hyperv.conftest import SourceOf
from tests.adapters.hyperv.runs import back_up, freeze, machine_of, read_point
from tests.support.hyperv.faults import short, untidy
from tests.support.hyperv.files import WorldFiles
from tests.support.hyperv.world import VOLUME, HypervWorld

MIB = 1 << 20
SIZE = 6 * MIB


def recovery(world: HypervWorld, key: str) -> list[str]:
    """The names of checkpoints of a backup in progress."""
    return [found.name for found in world.machines[key].checkpoints if found.kind == "recovery"]


def points(world: HypervWorld, key: str) -> list[str]:
    """The reference points of a machine."""
    return [point.id for point in world.machines[key].reference_points]


def test_an_application_consistent_checkpoint_is_asked_first(world: HypervWorld, source_of: SourceOf) -> None:
    """A running guest is asked to come to rest; the checkpoint carries our label in its name and notes."""
    key = world.add_machine("web", SIZE)
    snapshot = freeze(source_of(world), key)
    assert (snapshot.consistency, snapshot.fallback_cause) == ("application", None)
    (checkpoint,) = source_of(world)._tools.hosts.entry.checkpoints(key)
    assert is_ours(checkpoint)
    snapshot.release(committed=False)
    assert recovery(world, key) == []


def test_a_guest_that_does_not_come_to_rest_is_told(world: HypervWorld, source_of: SourceOf) -> None:
    """The backup goes on crash consistent, with the cause; required, it ends, and nothing is left."""
    key = world.add_machine("web", SIZE)
    world.faults.no_application.add(key)
    snapshot = freeze(source_of(world), key)
    assert (snapshot.consistency, snapshot.fallback_cause) == ("crash", "application-consistency-failed")
    snapshot.release(committed=False)
    with pytest.raises(SourceConflict) as refused:
        freeze(source_of(world, consistency="require"), key)
    assert refused.value.code == "quiesce-failed"
    assert "Production checkpoints cannot be created" in str(refused.value)
    assert recovery(world, key) == []


@pytest.mark.parametrize(("policy", "state", "cause"), [("never", "running", None), ("prefer", "off", "machine-off")])
def test_guests_that_are_left_alone(
    world: HypervWorld, source_of: SourceOf, policy: str, state: str, cause: str | None
) -> None:
    """A guest that the policy leaves alone, or that does not run, is not asked."""
    key = world.add_machine("web", SIZE)
    world.turn(key, state)
    snapshot = freeze(source_of(world, consistency=policy), key)
    assert (snapshot.consistency, snapshot.fallback_cause) == ("crash", cause)
    snapshot.release(committed=False)


def test_a_disk_that_no_checkpoint_holds_is_left_out_knowingly(world: HypervWorld, source_of: SourceOf) -> None:
    """A pass-through disk is excluded with its reason, the others are backed up; asked for, it is refused at once."""
    key = world.add_machine("web", SIZE)
    place = world.add_passthrough(key)
    source = source_of(world)
    excluded = [disk for disk in machine_of(source, key).disks if disk.exclusion is not None]
    assert [disk.key for disk in excluded] == [place]
    assert back_up(source, key).contents == {world.place(key): world.content(key, world.place(key))}
    calls = len(world.calls)
    with pytest.raises(SourceInvalid):
        source.snapshot(machine_of(source, key), SnapshotRequest("holdfast-x", {place: None}))
    assert "create-checkpoint" not in [script for _, script in world.calls[calls:]]


def test_a_disk_without_tracking_costs_the_machine_its_tracking(world: HypervWorld, source_of: SourceOf) -> None:
    """Fewer tracking ids than disks do not say which disk lacks one: all are read in full, with that cause."""
    key = world.add_machine("web", SIZE)
    world.add_disk(key, MIB, tracked=False)
    source = source_of(world)
    point = back_up(source, key)
    world.write(key, world.place(key), 0, b"later" * 100)
    again = back_up(source, key, point)
    assert set(again.tracking.values()) == {Untracked("rct-incomplete")}
    assert again.contents == {place: world.content(key, place) for place in world.machines[key].disks}
    assert len(points(world, key)) == 1


def test_a_machine_that_is_not_tracked_gets_no_reference_point(world: HypervWorld, source_of: SourceOf) -> None:
    """Its configuration version is too old: all is read and compared, and the checkpoint is removed in the end."""
    key = world.add_machine("old", SIZE, version="5.0")
    source = source_of(world)
    point = back_up(source, key)
    place = world.place(key)
    world.write(key, place, MIB, b"later" * 100)
    again = back_up(source, key, point)
    assert again.tracking == {place: Untracked("compare")}
    assert (point.bases, again.bases) == ({place: None}, {place: None})
    assert again.contents[place] == world.content(key, place)
    assert recovery(world, key) == points(world, key) == []


def test_a_host_that_names_disks_by_their_attachments(world: HypervWorld, source_of: SourceOf) -> None:
    """Two disks of a machine stay incremental whichever of its two names a reference point has for a disk."""
    key = world.add_machine("web", 4 * MIB)
    world.add_disk(key, 2 * MIB)
    world.machines[key].named_by_attachment = True
    source = source_of(world)
    first = back_up(source, key)
    world.write(key, world.place(key), MIB, b"later")
    second = back_up(source, key, first)
    assert set(second.tracking.values()) == {Tracked()}
    assert second.contents == {disk: world.content(key, disk) for disk in second.contents}


def test_a_new_disk_is_read_in_full_alone(world: HypervWorld, source_of: SourceOf) -> None:
    """The disks of the last point stay incremental beside it."""
    key = world.add_machine("web", SIZE)
    source = source_of(world)
    point = back_up(source, key)
    place = world.add_disk(key, 2 * MIB)
    world.write(key, place, 0, b"new" * 1000)
    again = back_up(source, key, point)
    assert again.tracking == {world.place(key): Tracked(), place: Untracked("no-base")}
    assert again.contents[place] == world.content(key, place)
    assert back_up(source, key, again).tracking[place] == Tracked()


def test_a_resized_disk_is_read_in_full_alone(world: HypervWorld, source_of: SourceOf) -> None:
    """Its new size is the point's."""
    key = world.add_machine("web", SIZE, 2 * MIB)
    source = source_of(world)
    point = back_up(source, key)
    first, second = world.machines[key].disks
    world.resize(key, first, SIZE + 3 * MIB)
    world.write(key, first, SIZE + MIB, b"behind the old end" * 50)
    again = back_up(source, key, point)
    assert again.tracking == {first: Untracked("disk-resized"), second: Tracked()}
    assert again.contents[first] == world.content(key, first)


def test_a_replaced_disk_is_read_in_full(world: HypervWorld, source_of: SourceOf) -> None:
    """The place is the same, the disk is not."""
    key = world.add_machine("web", SIZE)
    source = source_of(world)
    point = back_up(source, key)
    world.replace_disk(key, world.place(key))
    again = back_up(source, key, point)
    assert [*again.tracking.values()] == [Untracked("disk-replaced")]


def test_a_reference_point_that_is_gone_costs_a_full(world: HypervWorld, source_of: SourceOf) -> None:
    """Another product, or a restore, removed it: the next backup is full with that cause, the one after is not."""
    key = world.add_machine("web", SIZE)
    source = source_of(world)
    point = back_up(source, key)
    world.delete_reference_points(key)
    again = back_up(source, key, point)
    assert [*again.tracking.values()] == [Untracked("reference-point-gone")]
    assert [*back_up(source, key, again).tracking.values()] == [Tracked()]


def test_tracking_that_the_host_lost_costs_a_full(world: HypervWorld, source_of: SourceOf) -> None:
    """The reference point is there, and the host cannot tell what changed since."""
    key = world.add_machine("web", SIZE)
    source = source_of(world)
    point = back_up(source, key)
    world.restore_checkpoint_files(key)
    assert [*back_up(source, key, point).tracking.values()] == [Untracked("tracking-refused")]


@pytest.mark.parametrize("page", [short(65536), short(MIB + 1), untidy])
def test_change_lists_in_pieces(world: HypervWorld, source_of: SourceOf, page: object) -> None:
    """Answers that cover less than was asked, or are in no order, add up to what changed."""
    key = world.add_machine("web", SIZE)
    source = source_of(world)
    point = back_up(source, key)
    place = world.place(key)
    for offset in (0, 70_000, 3 * MIB - 5, SIZE - 600):
        world.write(key, place, offset, b"changed" * 50)
    world.faults.page = page
    again = back_up(source, key, point)
    assert again.tracking == {place: Tracked()}
    assert again.contents[place] == world.content(key, place)
    assert 0 < again.changed_bytes[place] <= 6 * 65536


def test_an_answer_that_makes_no_progress_costs_a_full(world: HypervWorld, source_of: SourceOf) -> None:
    """It is not asked for without end."""
    key = world.add_machine("web", SIZE)
    source = source_of(world)
    point = back_up(source, key)
    world.faults.page = lambda page: page | {"processed": 0}
    assert [*back_up(source, key, point).tracking.values()] == [Untracked("tracking-refused")]


def test_an_automatic_checkpoint_is_read_through_and_left_alone(world: HypervWorld, source_of: SourceOf) -> None:
    """The disk is an .avhdx then: it is the same disk, incremental, and somebody else's checkpoint stays."""
    key = world.add_machine("web", SIZE)
    source = source_of(world)
    place = world.place(key)
    world.write(key, place, 0, b"below" * 1000)
    point = back_up(source, key)
    world.plant_checkpoint(key)
    world.write(key, place, MIB, b"above" * 1000)
    assert world.disk(key, place).live.endswith(".avhdx")
    again = back_up(source, key, point)
    assert again.tracking == {place: Tracked()}
    assert again.contents[place] == world.content(key, place)
    assert [found.name for found in world.machines[key].checkpoints] == ["Automatic Checkpoint"]


def test_only_the_newest_reference_point_of_ours_stays(world: HypervWorld, source_of: SourceOf) -> None:
    """And another product's is untouched throughout."""
    key = world.add_machine("web", SIZE)
    foreign = world.plant_reference_point(key).id
    source = source_of(world)
    point = None
    for _ in range(3):
        point = back_up(source, key, point)
    assert len(points(world, key)) == 2
    assert foreign in points(world, key)


def test_a_run_that_fails_leaves_the_last_base_in_force(world: HypervWorld, source_of: SourceOf) -> None:
    """What its end had made already is removed; the changes since the last point are complete afterwards."""
    key = world.add_machine("web", SIZE)
    source = source_of(world)
    place = world.place(key)
    point = back_up(source, key)
    kept = points(world, key)
    world.write(key, place, 0, b"first" * 1000)
    failed = freeze(source, key, point.bases)
    failed.confirm()
    assert len(points(world, key)) == 2
    failed.release(committed=False)
    assert points(world, key) == kept
    world.write(key, place, 2 * MIB, b"second" * 1000)
    again = back_up(source, key, point)
    assert again.tracking == {place: Tracked()}
    assert again.contents[place] == world.content(key, place)


def test_a_failed_conversion_ends_the_run_and_costs_no_base(world: HypervWorld, source_of: SourceOf) -> None:
    """The host's reason is told, the checkpoint is removed, and the next backup is incremental."""
    key = world.add_machine("web", SIZE)
    source = source_of(world)
    point = back_up(source, key)
    world.jobs.failing["convert-to-reference-point"] = [(32768, ["Failed to write the attachment."])]
    snapshot = freeze(source, key, point.bases)
    with pytest.raises(AdapterError, match="Failed to write the attachment"):
        snapshot.confirm()
    snapshot.release(committed=False)
    assert recovery(world, key) == []
    assert len(points(world, key)) == 1
    assert [*back_up(source, key, point).tracking.values()] == [Tracked()]


def test_a_conversion_whose_answer_was_lost_took_place(world: HypervWorld, source_of: SourceOf) -> None:
    """It is seen at the host, not asked for twice, and its reference point is the base."""
    key = world.add_machine("web", SIZE)
    source = source_of(world)
    world.faults.lost["convert-to-reference-point"] = 1
    point = back_up(source, key)
    assert len(points(world, key)) == 1
    assert [script for _, script in world.calls].count("convert-to-reference-point") == 1
    assert [*back_up(source, key, point).tracking.values()] == [Tracked()]


def test_a_checkpoint_whose_making_got_no_answer_is_removed(world: HypervWorld, source_of: SourceOf) -> None:
    """The run ends; what it may have made, it, or the next one, removes."""
    key = world.add_machine("web", SIZE)
    source = source_of(world)
    world.faults.lost["create-checkpoint"] = 1
    with pytest.raises(SourceUnavailable):
        freeze(source, key)
    assert recovery(world, key) == []
    back_up(source, key)


def test_a_checkpoint_that_somebody_removed_is_no_restore_point(world: HypervWorld, source_of: SourceOf) -> None:
    """What was read of it may be of no moment."""
    key = world.add_machine("web", SIZE)
    source = source_of(world)
    snapshot = freeze(source, key)
    machine = world.machines[key]
    machine.merge(machine.checkpoints[0])
    with pytest.raises(SourceConflict) as lost:
        snapshot.confirm()
    assert lost.value.code == "snapshot-lost"
    snapshot.release(committed=False)
    assert points(world, key) == []


def test_a_host_that_lets_nobody_name_its_checkpoints(world: HypervWorld, source_of: SourceOf) -> None:
    """The run's note knows what it made: it is removed all the same, also after a crash."""
    key = world.add_machine("web", SIZE)
    world.faults.names_refused = True
    doomed = source_of(world)
    freeze(doomed, key)
    doomed.close()
    assert len(recovery(world, key)) == 1
    source = source_of(world)
    (cleaned,) = source.reconcile(machine_of(source, key), {})
    assert (cleaned.what.startswith("checkpoint "), cleaned.action) == (True, "removed")
    assert recovery(world, key) == []


def test_one_job_at_a_time(world: HypervWorld, source_of: SourceOf) -> None:
    """A second snapshot of a machine, and its reconciliation, wait for the first."""
    key = world.add_machine("web", SIZE)
    source = source_of(world)
    snapshot = freeze(source, key)
    with pytest.raises(SourceConflict):
        freeze(source, key)
    with pytest.raises(SourceConflict):
        source.reconcile(machine_of(source, key), {})
    snapshot.release(committed=False)


@pytest.mark.parametrize(
    ("moment", "after"),
    [
        ("create-checkpoint", 0),
        ("checkpoint-disks", 0),
        ("changes", 0),
        ("disk-files", 2),
        ("checkpoints", 2),
        ("convert-to-reference-point", 0),
        ("destroy-reference-point", 0),
    ],
)
def test_a_live_migration_at_any_step_is_survived(
    cluster: HypervWorld, source_of: SourceOf, moment: str, after: int
) -> None:
    """The machine moves to another node before a step: the step is taken there, and the point is exact."""
    key = cluster.add_machine("web", SIZE, node="hv1")
    source = source_of(cluster)
    place = cluster.place(key)
    point = back_up(source, key)
    cluster.write(key, place, MIB, b"changed" * 1000)
    cluster.faults.then(moment, lambda: cluster.migrate(key, "hv2"), after=after)
    again = back_up(source, key, point)
    assert cluster.machines[key].node == "hv2"
    assert again.tracking == {place: Tracked()}
    assert again.contents[place] == cluster.content(key, place)
    assert recovery(cluster, key) == []
    assert len(points(cluster, key)) == 1


def test_disks_are_read_through_the_node_that_has_their_volume(cluster: HypervWorld, source_of: SourceOf) -> None:
    """Not through the machine's; when the volume moves in the middle, reading goes on at its new node."""
    key = cluster.add_machine("web", SIZE, node="hv1")
    cluster.write(key, cluster.place(key), 0, b"data" * 1000)
    cluster.move_volume(VOLUME, "hv3")
    files = WorldFiles(cluster)
    source = source_of(cluster, files)
    snapshot = freeze(source, key)
    (frozen,) = snapshot.disks.values()
    reader = frozen.open()
    buffer = bytearray(4000)
    reader.pread_into(0, memoryview(buffer))
    assert set(files.opened) <= {"hv3"}
    cluster.move_volume(VOLUME, "hv2")
    files.gone.add("hv3")
    reader.pread_into(0, memoryview(buffer))
    assert bytes(buffer) == b"data" * 1000
    assert files.opened[-1] == "hv2"
    reader.close()
    contents = read_point(snapshot, None).contents
    assert [*contents.values()] == [cluster.content(key, cluster.place(key))]
    snapshot.release(committed=False)


def test_a_connection_that_stays_lost_is_an_error(world: HypervWorld, source_of: SourceOf) -> None:
    """It is tried a few times, not for ever."""
    key = world.add_machine("web", SIZE)
    world.write(key, world.place(key), 0, b"data" * 1000)
    files = WorldFiles(world)
    snapshot = freeze(source_of(world, files), key)
    (frozen,) = snapshot.disks.values()
    reader = frozen.open()
    files.gone.add("hv1")
    with pytest.raises(SourceUnavailable):
        reader.pread_into(0, memoryview(bytearray(512)))
    files.gone.clear()
    reader.pread_into(0, memoryview(bytearray(512)))
    reader.close()
    snapshot.release(committed=False)
