"""Deleting restore points: gone from every list and every use, with a tombstone, and nothing else is touched."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from catalog.deletion import delete_point, plan_deletion
from catalog.domain import events as ev
from catalog.domain.machine import MachineState
from catalog.log import EventLog
from catalog.runtime import Catalog
from ingest.wiring import opened
from storage.errors import Conflict, NotFound
from tests.support.lab import MIB, Lab, make_image, pieces, write_at

SIZE = 4 * MIB + 1000


@pytest.fixture
def contents(lab: Lab) -> list[bytes]:
    """What the image held at each of four restore points, the last three of them incrementals."""
    image = lab.images / "vm.raw"
    make_image(image, SIZE, list(pieces(Random(5), [(0, MIB), (2 * MIB + 99, 300_000)])))
    lab.add_images()
    found = []
    for number in range(4):
        write_at(image, number * MIB + 7, b"change %d" % number)
        lab.backup()
        found.append(image.read_bytes())
    return found


def _points(lab: Lab) -> list[str]:
    return [row["restore_point"] for row in lab.json("points")]


def _forget(lab: Lab, point: str) -> None:
    lab.ok("forget", point, "--reason", "asked for", "--yes")


def test_later_points_stay_whole(lab: Lab, contents: list[bytes]) -> None:
    """Every other point restores to its bytes, with and without the index, from packs of deleted points too."""
    points = _points(lab)
    for gone in (0, 2):
        _forget(lab, points[gone])
    assert _points(lab) == [points[1], points[3]]
    for kept in (1, 3):
        assert lab.restored(points[kept]) == contents[kept]
        assert lab.restored(points[kept], "--without-index") == contents[kept]
    assert lab.ok("verify").code == 0
    assert lab.ok("rebuild", "index").code == 0
    assert _points(lab) == [points[1], points[3]]


def test_the_next_backup_still_builds_on_a_deleted_point(lab: Lab, contents: list[bytes]) -> None:
    """The newest point may go: what comes next is an incremental on its rows, and restores exactly."""
    points = _points(lab)
    plan = lab.json("forget", points[-1], "--reason", "test", "--dry-run")
    assert (plan["next_builds_on_it"], plan["kept_for"], plan["deleted"]) == (True, [], False)
    _forget(lab, "latest")
    image = lab.images / "vm.raw"
    write_at(image, 100, b"later")
    record = lab.backup_one()
    assert (record["disks"][0]["level"], record["disks"][0]["new_chunks"]) == ("incremental", 1)
    assert lab.restored(record["restore_point"]) == image.read_bytes()
    assert _points(lab) == [*points[:-1], record["restore_point"]]


def test_a_deleted_point_is_not_found_and_the_answer_says_who_and_why(lab: Lab, contents: list[bytes]) -> None:
    """Restore, show, verify, export, synth and a second deletion all name the tombstone; `latest` is the one before."""
    points = _points(lab)
    _forget(lab, points[-1])
    for command in (
        ("restore", points[-1], "--to", lab.root / "out"),
        ("restore", points[-1], "--to", lab.root / "out", "--without-index"),
        ("show", points[-1][:8]),
        ("verify", points[-1]),
        ("synth", "vm", "--at", points[-1]),
        ("forget", points[-1], "--reason", "again", "--yes"),
    ):
        problem = lab.fails(5, *command)
        assert problem["code"] == "restore-point-deleted", command
        assert "(manual: asked for)" in problem["detail"]
    assert not (lab.root / "out").exists()
    assert lab.restored("latest") == lab.restored("latest:vm") == contents[-2]
    assert lab.json("show", "latest")["restore_point"] == points[-2]
    assert lab.json("machines")[0]["restore_points"] == 3


def test_the_tombstone_tells_the_whole_story(lab: Lab, contents: list[bytes]) -> None:
    """Actor, rule, reason and the points that the rows are kept for are recorded, and shown in SQL."""
    points = _points(lab)
    record = lab.json("forget", points[1], "--reason", "  too old ", "--yes")
    assert (record["kept_for"], record["deleted"]) == (points[2:], True)
    (event,) = [event for event in lab.recorded() if isinstance(event, ev.RestorePointDeleted)]
    assert (event.rule, event.reason, [point.hex for point in event.kept_for]) == ("manual", "too old", points[2:])
    assert event.actor
    query = "SELECT replace(restore_point_id, '-', '') AS id, reason, kept_for FROM deletions"
    assert lab.json("sql", query) == [{"id": points[1], "reason": "too old", "kept_for": 2}]
    plan = lab.json("forget", points[0], "--reason", "x", "--dry-run")
    assert plan["kept_for"] == points[2:], "a point that is reached over a deleted one still needs the rows"


def test_nothing_is_deleted_without_reason_and_consent(lab: Lab, contents: list[bytes]) -> None:
    """Nobody at the terminal, no reason, too long a reason: refused, and the log is as it was."""
    before = len(lab.recorded())
    for arguments, code in (
        (("--reason", "x"), "unconfirmed"),
        (("--reason", "  ", "--yes"), "deletion-reason"),
        (("--reason", "x" * 1001, "--yes"), "deletion-reason"),
        (("--yes",), "usage"),
    ):
        assert lab.fails(2, "forget", "latest", *arguments)["code"] == code
    lab.ok("forget", "latest", "--reason", "x", "--dry-run")
    assert len(lab.recorded()) == before


def test_a_synthetic_full_keeps_what_its_origin_had(lab: Lab, contents: list[bytes]) -> None:
    """It says when its data is from, as its origin did, and stays when the origin is deleted, before or meanwhile."""
    points = _points(lab)
    with opened(lab.home) as services:
        origin = services.catalog.find_point(points[-1])
        assert origin.taken_at is not None
        assert origin.taken_at <= origin.recorded_at
    made = lab.json("synth", "vm")["restore_point"]
    with opened(lab.home) as services:
        assert services.catalog.find_point(made).taken_at == origin.taken_at
        event = next(
            event for event in lab.recorded() if getattr(event, "restore_point_id", None) == origin.restore_point_id
        )
    _forget(lab, points[-1])
    assert lab.restored(made) == contents[-1]
    image = lab.images / "vm.raw"
    write_at(image, 5, b"later")
    assert lab.restored(lab.backup_one()["restore_point"]) == image.read_bytes()
    assert event is not None


def test_others_may_write_to_the_machine_meanwhile(
    lab: Lab, contents: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A version taken by somebody else makes the deletion look again; who deletes second is told so."""
    points = _points(lab)
    with closing(EventLog.open(lab.home.event_file)) as log, Catalog.opened(lab.home) as catalog:
        point = catalog.find_point(points[0])
        state = catalog.machine_named("vm")
        save, calls = EventLog.save, []

        def late(self: EventLog, *events: ev.Event) -> int:
            calls.append(events)
            if len(calls) == 1:
                other = ev.RunOpened(
                    originator_id=state.machine_id,
                    originator_version=state.version + 1,
                    recorded_at=catalog.clock(),
                    run_id=point.run_id,
                    label="holdfast-x",
                )
                save(log, other)
            return save(self, *events)

        monkeypatch.setattr(EventLog, "save", late)
        about = {"actor": "a", "reason": "r", "clock": catalog.clock}
        delete_point(catalog.log, point.machine_id, point.restore_point_id, **about)  # type: ignore[arg-type]
        assert len(calls) == 2
        with pytest.raises(NotFound) as caught:
            delete_point(catalog.log, point.machine_id, point.restore_point_id, **about)  # type: ignore[arg-type]
        assert caught.value.code == "restore-point-deleted"
        after = MachineState.fold(log.stream(state.machine_id))
        assert after is not None
        with pytest.raises(NotFound):
            plan_deletion(after, point.restore_point_id)
        with pytest.raises(Conflict):
            after.restore_point_to_delete(point.restore_point_id)


def test_a_home_without_its_index_deletes_too(lab: Lab, contents: list[bytes]) -> None:
    """The log is what counts: with a lost index the deletion is recorded, and the index follows when it is back."""
    points = _points(lab)
    for path in Path(lab.home.lake_dir).glob("lake.sqlite*"):
        path.unlink()
    answer = lab.ok("forget", points[0], "--reason", "x", "--yes")
    assert "rebuild index" in answer.err
    lab.ok("rebuild", "index")
    assert _points(lab) == points[1:]
