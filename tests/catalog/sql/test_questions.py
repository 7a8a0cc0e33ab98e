"""The saved questions find on a small catalog what they promise to find."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from catalog.deletion import delete_point
from catalog.domain import ids
from catalog.domain.events import BackupFailed, MachineSeen, RestorePointVerified
from catalog.domain.facts import DiskSeen
from catalog.log import EventLog
from catalog.projections.projector import Projector
from catalog.projections.tables import TABLES
from catalog.sql.questions import QUESTIONS
from catalog.sql.runner import run_sql
from storage.lake import Lake
from tests.support.recorded import CHUNK_BYTES, REPOSITORY, Author, Change, rows_at

Answers = dict[str, list[dict[str, Any]]]


class LaterAuthor(Author):
    """An author whose clock can be moved on."""

    later = timedelta()

    def now(self) -> Any:
        return super().now() + self.later


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Answers]:
    """What each question is answered with, over a catalog that has one of everything."""
    root = tmp_path_factory.mktemp("questions")
    with EventLog.create(root / "events.sqlite") as log, closing(Lake.create(root / "index", TABLES)) as lake:
        _record(LaterAuthor(log))
        Projector(log, lake).catch_up()
        yield {question.name: run_sql(lake, question.query).read_all().to_pylist() for question in QUESTIONS}


def _record(author: LaterAuthor) -> None:
    author.machine("never")
    steady, damaged, stale = author.machine("steady"), author.machine("damaged"), author.machine("stale")
    author.backup(stale, {"vda": Change(rows_at(range(2), salt=5))}, name="stale")
    broken = author.backup(damaged, {"vda": Change(rows_at(range(2), salt=6))}, name="damaged")
    _verified(author, damaged, broken, "damaged")
    gone = author.backup(steady, {"vda": Change(rows_at(range(2), salt=1))}, name="steady")
    for salt in (2, 3, 4):
        author.backup(steady, {"vda": Change(rows_at([salt], salt=salt))}, name="steady")
    author.backup(steady, {"vda": Change(rows_at(range(40), salt=11))}, name="steady")
    delete_point(author.log, steady, gone, actor="eve", reason="space", clock=author.now)
    author.later = timedelta(days=40)
    checked = author.backup(steady, {"vda": Change(rows_at(range(3), salt=12), full=True)}, name="steady")
    _verified(author, steady, checked, "ok")
    about = {"machine_id": steady, "kind": "unavailable", "code": "source-away", "why": "no answer"}
    author.save(author.run_id(), BackupFailed, **about)
    _machine_with_a_disk_left_out(author)


def _machine_with_a_disk_left_out(author: Author) -> None:
    source_id = ids.source_id(REPOSITORY, "lab")
    machine_id = ids.machine_id(source_id, "shared")
    disk = DiskSeen(
        disk_id=ids.disk_id(machine_id, "vdb"),
        key="vdb",
        label="vdb",
        size_bytes=CHUNK_BYTES,
        identity="shared/vdb",
        tracking="compare",
        granularity_bytes=65536,
        excluded_reason="it is shared",
        way_out="back it up in the guest",
    )
    about = {"source_id": source_id, "source": "lab", "key": "shared", "name": "shared", "disks": (disk,)}
    author.save(machine_id, MachineSeen, **about)


def _verified(author: Author, machine_id: UUID, point_id: UUID, result: str) -> None:
    author.save(
        point_id,
        RestorePointVerified,
        machine_id=machine_id,
        level="content",
        result=result,
        chunks=2,
        checked_bytes=2 * CHUNK_BYTES,
        problems=(),
    )


def _machines(rows: list[dict[str, Any]]) -> list[str]:
    return [row.get("machine", row.get("name")) for row in rows]


def test_there_are_ten() -> None:
    """There are ten questions with names of their own, each with a reason."""
    assert len({question.name for question in QUESTIONS}) == len(QUESTIONS) == 10
    assert all(question.why and question.title.endswith("?") for question in QUESTIONS)


def test_machines_that_are_not_protected(answers: Answers) -> None:
    """Machines without restore points, late ones, and disks left out are named, and no others."""
    assert _machines(answers["never-backed-up"]) == ["never", "shared"]
    assert set(_machines(answers["late-machines"])) == {"never", "shared", "damaged", "stale"}
    (left_out,) = answers["disks-left-out"]
    assert (left_out["name"], left_out["label"], left_out["way_out"]) == ("shared", "vdb", "back it up in the guest")


def test_gaps_are_found(answers: Answers) -> None:
    """A machine that was not backed up for forty days shows, though it has a new point since."""
    assert "steady" in _machines(answers["gaps-of-the-quarter"])
    assert all(row["gap_hours"] > 24 for row in answers["gaps-of-the-quarter"])


def test_what_was_not_read_back(answers: Answers) -> None:
    """A machine counts as verified by a verification that found it well, lately; damage is listed."""
    assert set(_machines(answers["unverified-for-30-days"])) == {"damaged", "stale"}
    assert _machines(answers["damaged-points"]) == ["damaged"]


def test_what_was_taken_away(answers: Answers) -> None:
    """A deletion names who, why, and how many later points still build on it."""
    (deletion,) = answers["deletions"]
    assert (deletion["machine"], deletion["actor"], deletion["reason"]) == ("steady", "eve", "space")
    assert deletion["kept_for"] == 4


def test_what_is_unusual(answers: Answers) -> None:
    """A second full, a point that changed far more than usual, and a failed run are found."""
    (full,) = answers["unexpected-fulls"]
    assert full["machine"] == "steady"
    (change,) = answers["unusual-change"]
    assert change["changed_bytes"] == 40 * CHUNK_BYTES
    (failed,) = answers["failed-runs"]
    assert (failed["machine"], failed["what"]) == ("steady", "BackupFailed")
    assert "source-away" in failed["body"]
