"""A worker that is killed at any step of a backup: the next run removes what it left, and nothing else.

Killed means here: from that step on nothing reaches the host or the disk any more. The next run is a new source on the
same runtime directory, with the bases of the last committed point in force.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from adapters.hyperv.intents import Intents
from adapters.hyperv.snapshot import HypervSnapshot
from adapters.hyperv.source import HypervSource
from adapters.port import Leftover, Tracked
from tests.adapters.hyperv.conftest import SourceOf
from tests.adapters.hyperv.runs import Point, back_up, freeze, machine_of, read_point
from tests.support.hyperv.world import HypervWorld

MIB = 1 << 20
SIZE = 6 * MIB


class Killed(BaseException):
    """The process is gone."""


def killing(world: HypervWorld, patch: pytest.MonkeyPatch) -> Callable[[], None]:
    """What ends the process: neither the host nor the run's note hears of anything after it."""

    def kill() -> None:
        world.faults.silent.add("hv1")
        patch.setattr(Intents, "write", lambda notes, intent: intent)
        raise Killed

    return kill


def revive(world: HypervWorld, patch: pytest.MonkeyPatch) -> None:
    """A new process."""
    world.faults.silent.clear()
    patch.undo()


def recovery(world: HypervWorld, key: str) -> list[str]:
    """The checkpoints of a backup in progress."""
    return [found.id for found in world.machines[key].checkpoints if found.kind == "recovery"]


def points(world: HypervWorld, key: str) -> set[str]:
    """The reference points of a machine."""
    return {point.id for point in world.machines[key].reference_points}


def cleaned(source: HypervSource, key: str, point: Point) -> list[Leftover]:
    """What the next run's clean-up tells, with a point's bases in force."""
    keep = {disk: base for disk, base in point.bases.items() if base is not None}
    return list(source.reconcile(machine_of(source, key), keep))


def start(world: HypervWorld, source_of: SourceOf) -> tuple[str, str, Point]:
    """A machine with a point, somebody's checkpoint, another product's reference point, and changes since."""
    key = world.add_machine("web", SIZE)
    world.plant_reference_point(key)
    world.plant_checkpoint(key)
    point = back_up(source_of(world), key)
    world.write(key, world.place(key), 0, b"before" * 1000)
    return key, world.place(key), point


@pytest.mark.parametrize(
    ("script", "after"),
    [
        ("create-checkpoint", 0),  # nothing was made
        ("job", 0),  # the checkpoint is there, its identifier is not known
        ("rename-checkpoint", 0),  # known, not named
        ("checkpoint-disks", 0),  # named
        ("changes", 0),
        ("convert-to-reference-point", 0),  # announced, not begun
        ("job", 2),  # the reference point is there, its identifier is not known
        ("reference-points", 1),  # the same, at the last moment
    ],
)
def test_a_kill_before_the_commit(
    world: HypervWorld, source_of: SourceOf, monkeypatch: pytest.MonkeyPatch, script: str, after: int
) -> None:
    """Checkpoint and new reference point go, the base in force and foreign things stay; the next backup is exact."""
    key, place, point = start(world, source_of)
    kept = points(world, key)
    doomed = source_of(world)
    snapshots: list[HypervSnapshot] = []
    world.faults.then(script, killing(world, monkeypatch), after=after)
    with pytest.raises(Killed):  # noqa: PT012 - it may be killed at any step of a run
        snapshots.append(freeze(doomed, key, point.bases))
        read_point(snapshots[0], point)
        snapshots[0].confirm()
    doomed.close()
    revive(world, monkeypatch)
    world.write(key, place, MIB, b"after" * 1000)
    source = source_of(world)
    told = cleaned(source, key, point)
    assert len(told) == (0 if script == "create-checkpoint" else 1)
    assert points(world, key) == kept
    assert recovery(world, key) == []
    assert [found.name for found in world.machines[key].checkpoints] == ["Automatic Checkpoint"]
    assert cleaned(source, key, point) == []
    again = back_up(source, key, point)
    assert again.tracking == {place: Tracked()}
    assert again.contents[place] == world.content(key, place)


def confirmed(source: HypervSource, key: str, point: Point) -> tuple[HypervSnapshot, Point]:
    """A run up to the commit."""
    snapshot = freeze(source, key, point.bases)
    made = read_point(snapshot, point)
    snapshot.confirm()
    made.bases = {disk: frozen.base_token for disk, frozen in snapshot.disks.items()}
    return snapshot, made


def test_a_kill_between_confirmation_and_commit(world: HypervWorld, source_of: SourceOf) -> None:
    """The reference point of the run that did not commit goes; the last point's is in force, and complete."""
    key, place, point = start(world, source_of)
    kept = points(world, key)
    doomed = source_of(world)
    confirmed(doomed, key, point)
    doomed.close()
    source = source_of(world)
    (told,) = cleaned(source, key, point)
    assert told.what.startswith("reference point ")
    assert points(world, key) == kept
    again = back_up(source, key, point)
    assert again.tracking == {place: Tracked()}
    assert again.contents[place] == world.content(key, place)


@pytest.mark.parametrize("script", [None, "destroy-reference-point", "job"])
def test_a_kill_after_the_commit(
    world: HypervWorld, source_of: SourceOf, monkeypatch: pytest.MonkeyPatch, script: str | None
) -> None:
    """The new base is in force and kept; the one before it goes, by the run or by the next one."""
    key, place, point = start(world, source_of)
    before = points(world, key)
    doomed = source_of(world)
    snapshot, made = confirmed(doomed, key, point)
    if script is not None:
        world.faults.then(script, killing(world, monkeypatch))
        with pytest.raises(Killed):
            snapshot.release(committed=True)
    doomed.close()
    revive(world, monkeypatch)
    source = source_of(world)
    told = cleaned(source, key, made)
    assert len(told) == (0 if script == "job" else 1)
    assert len(points(world, key)) == len(before) == 2
    assert len(points(world, key) - before) == 1
    world.write(key, place, 2 * MIB, b"later" * 1000)
    again = back_up(source, key, made)
    assert again.tracking == {place: Tracked()}
    assert again.contents[place] == world.content(key, place)


def test_what_cannot_be_told_apart_is_told_and_left(
    world: HypervWorld, source_of: SourceOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill hid which reference point was ours, and another product made one since: both stay, and it is said once."""
    key, _, point = start(world, source_of)
    doomed = source_of(world)
    snapshot = freeze(doomed, key, point.bases)
    world.faults.then("job", killing(world, monkeypatch))
    with pytest.raises(Killed):
        snapshot.confirm()
    doomed.close()
    revive(world, monkeypatch)
    world.plant_reference_point(key)
    there = points(world, key)
    source = source_of(world)
    (told,) = cleaned(source, key, point)
    assert told.action == "left"
    assert points(world, key) == there
    assert cleaned(source, key, point) == []


def test_a_base_that_was_given_up_loses_its_reference_point(world: HypervWorld, source_of: SourceOf) -> None:
    """After a restore in place no token is in force: the point is ours still, and goes."""
    key, _, _ = start(world, source_of)
    source = source_of(world)
    assert len(points(world, key)) == 2
    (told,) = source.reconcile(machine_of(source, key), {})
    assert told.what.startswith("reference point ")
    assert len(points(world, key)) == 1
    assert source.reconcile(machine_of(source, key), {}) == []


def test_a_worker_elsewhere_knows_what_is_ours(world: HypervWorld, source_of: SourceOf, tmp_path: Path) -> None:
    """Without the note, the mark tells our checkpoint, and the base tokens our reference points."""
    key, place, point = start(world, source_of)
    doomed = source_of(world)
    freeze(doomed, key, point.bases)
    doomed.close()
    next(tmp_path.rglob(f"{key}.json")).unlink()
    source = source_of(world)
    again = back_up(source, key, point)
    assert recovery(world, key) == []
    assert again.tracking == {place: Tracked()}
    assert len(points(world, key)) == 2
