"""A worker does what it is asked for, and tells how it ended."""

from __future__ import annotations

import json
import signal
import subprocess
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from catalog.domain import events as ev
from catalog.domain import requests as rq
from ingest.worker import hand, jobs
from ingest.worker import worker as worker_module
from storage.errors import Conflict
from tests.support.eventually import eventually
from tests.support.lab import flip
from tests.support.nbd_peers import need
from tests.support.shop import BEA, SIZE, Shop


def test_a_backup_by_request(shop: Shop) -> None:
    """It makes one restore point of each machine with the bytes of its disk; the index has it when the task ended."""
    task = shop.book.request_backup(BEA, source="lab")
    shop.work()
    state = shop.state(task)
    (committed,) = shop.lab.of_type(ev.RestorePointCommitted)
    assert (state.status, state.restore_points, state.attempts) == ("succeeded", (committed.restore_point_id,), 1)
    assert shop.told == [state]
    with shop.lab.services() as services:
        assert services.catalog.lake.position() == services.log.position()
    assert shop.lab.restored(committed.restore_point_id.hex) == shop.image.read_bytes()
    one = shop.book.request_backup(BEA, machine_id=shop.machine_id(), full=True)
    shop.work()
    assert shop.state(one).status == "succeeded"
    assert shop.lab.of_type(ev.RestorePointCommitted)[-1].disks[0].level == "full"


def test_a_synthetic_full_and_a_verification_by_request(shop: Shop) -> None:
    """Both end with what they made or found; a verification is recorded in the transaction of its task's end."""
    point = shop.backup()
    synthetic = shop.book.request_synthetic(BEA, restore_point_id=point)
    verification = shop.book.request_verification(BEA, restore_point_id=point)
    shop.work()
    made = shop.lab.of_type(ev.RestorePointCommitted)[-1]
    assert (made.origin, made.of_restore_point) == ("synthetic", point)
    assert shop.state(synthetic).restore_points == (made.restore_point_id,)
    assert shop.lab.restored(made.restore_point_id.hex) == shop.image.read_bytes()
    assert shop.state(verification).status == "succeeded"
    recorded = shop.lab.recorded()
    (at,) = (number for number, event in enumerate(recorded) if isinstance(event, ev.RestorePointVerified))
    assert isinstance(recorded[at + 1], rq.TaskSucceeded)


def test_a_verification_that_finds_damage_says_so(shop: Shop) -> None:
    """The task did what it was asked for; it ends as partial and names what is damaged."""
    point = shop.backup()
    flip(shop.lab.packs()[0], 5000)
    task = shop.book.request_verification(BEA, restore_point_id=point)
    shop.work()
    state = shop.state(task)
    assert state.status == "partial"
    assert state.detail.startswith("damaged: ")
    assert [event.result for event in shop.lab.of_type(ev.RestorePointVerified)] == ["damaged"]


@pytest.mark.parametrize("image_format", ["raw", "qcow2"])
def test_a_restore_by_request(shop: Shop, image_format: Any) -> None:
    """A directory appears below the folder with the image and what it is; the bytes are the disk's."""
    need("qemu-img")
    point = shop.backup()
    task = shop.book.request_restore(BEA, restore_point_id=point, to="a/b", image_format=image_format)
    shop.work()
    assert shop.state(task).status == "succeeded", shop.state(task)
    target = shop.folder / "a" / "b"
    manifest = json.loads((target / "restore.json").read_text())
    assert (manifest["task"], manifest["restore_point"]) == (str(task.task_id), str(point))
    (image,) = manifest["images"]
    if image_format == "raw":
        assert (target / image["file"]).read_bytes() == shop.image.read_bytes()
    else:
        raw = shop.lab.root / "raw"
        subprocess.run(["qemu-img", "convert", "-O", "raw", target / image["file"], raw], check=True)
        assert raw.read_bytes() == shop.image.read_bytes()
    assert {path.name for path in target.iterdir()} == {"restore.json", image["file"]}
    assert list(shop.folder.glob("a/.*")) == []


def test_restores_that_are_refused(shop: Shop) -> None:
    """Nothing is written without a folder, over what is there, or through a link that leads out."""
    point = shop.backup()
    (shop.folder / "there").mkdir()
    (shop.folder / "there" / "precious").write_text("x")
    (shop.folder / "file").write_text("x")
    outside = shop.lab.root / "outside"
    outside.mkdir()
    (shop.folder / "link").symlink_to(outside)
    (shop.folder / "dangling").symlink_to(outside / "new")
    names = {
        "there": "target-exists",
        "file": "target-exists",
        "file/below": "target-exists",
        "link/x": "restore-outside",
        "dangling": "target-exists",
    }
    asked = {name: shop.book.request_restore(BEA, restore_point_id=point, to=name) for name in names}
    shop.work()
    found = {name: shop.state(task).failure for name, task in asked.items()}
    assert {name: failure and failure[1] for name, failure in found.items()} == names
    assert sorted(path.name for path in shop.folder.rglob("*")) == ["dangling", "file", "link", "precious", "there"]
    assert list(outside.iterdir()) == []
    task = shop.book.request_restore(BEA, restore_point_id=point, to="new")
    shop.work(restores=False)
    assert (shop.state(task).failure or ("",) * 3)[:2] == ("denied", "restore-folder")


def test_work_that_cannot_be_done_fails_once(shop: Shop) -> None:
    """A task whose object is gone by then ends as failed, with kind, code and reason, and is not tried again."""
    point = shop.backup()
    task = shop.book.request_verification(BEA, restore_point_id=point)
    removed = shop.book.request_backup(BEA, source="lab")
    with shop.lab.services() as services:
        machine = services.catalog.machines()[0]
        tombstone = {"restore_point_id": point, "actor": "x", "rule": "by-hand", "reason": "r"}
        version = machine.version + 1
        at = datetime.now(UTC)
        deleted = ev.RestorePointDeleted(
            originator_id=machine.machine_id, originator_version=version, recorded_at=at, **tombstone
        )
        services.log.save(deleted)
    shop.lab.ok("source", "remove", "lab")
    shop.work()
    shop.work()
    for one, code in ((task, "restore-point-deleted"), (removed, "source-unknown")):
        state = shop.state(one)
        assert (state.status, state.attempts) == ("failed", 1)
        assert state.failure is not None
        assert state.failure[:2] == ("not_found", code)


def test_one_broken_machine_makes_a_backup_partial(shop: Shop) -> None:
    """The others get their restore points, and the task says which machine got none."""
    (shop.lab.images / "bad.qcow2").write_bytes(b"QFI\xfb" + bytes(100))
    task = shop.book.request_backup(BEA, source="lab")
    shop.work()
    state = shop.state(task)
    assert (state.status, len(state.restore_points)) == ("partial", 1)
    assert "bad" in state.detail


def test_a_fault_of_ours_fails_the_task_only(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A task that meets a bug ends as failed, and the worker goes on to the next."""

    def broken(*_: object) -> jobs.Done:
        raise ZeroDivisionError

    point = shop.backup()
    monkeypatch.setattr(worker_module, "JOBS", {**jobs.JOBS, rq.SyntheticRequested: broken})
    first = shop.book.request_synthetic(BEA, restore_point_id=point)
    second = shop.book.request_verification(BEA, restore_point_id=point)
    shop.work()
    assert (shop.state(first).failure or ("", ""))[1] == "internal"
    assert shop.state(second).status == "succeeded"


def test_progress_is_told_now_and_then(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Progress counts up to the disk's data, and is recorded no more often than every two seconds."""
    now = iter(range(100_000))
    task = shop.book.request_backup(BEA, source="lab")
    shop.work(monotonic=lambda: float(next(now)))
    told = shop.lab.of_type(rq.TaskProgressed)
    assert told
    assert {event.what for event in told} == {"vm.raw"}
    assert [event.done_bytes for event in told] == sorted(event.done_bytes for event in told)
    assert told[-1].done_bytes <= told[-1].total_bytes == SIZE
    log_length = len(shop.lab.recorded())
    monkeypatch.setattr(hand, "PROGRESS_EVERY_S", float("inf"))
    shop.book.request_backup(BEA, source="lab")
    shop.work()
    assert len(shop.lab.of_type(rq.TaskProgressed)) == len(told) + 1  # the first is told at once
    assert len(shop.lab.recorded()) > log_length
    assert shop.state(task).done_bytes == told[-1].done_bytes


def test_the_command_does_what_is_asked_and_goes(shop: Shop) -> None:
    """A real worker takes a task that comes while it runs, prints it, and ends cleanly when it is terminated."""
    process = shop.lab.start("worker", "--json", "--restore-to", shop.folder)
    task = shop.book.request_backup(BEA, source="lab")
    eventually(lambda: not shop.state(task).open, "the task ended")
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    (line,) = out.splitlines()
    record = json.loads(line)
    assert (record["task_id"], record["status"]) == (str(task.task_id), "succeeded")
    listed = shop.lab.json("tasks")
    assert [row["task_id"] for row in listed] == [record["task_id"]]
    assert shop.lab.json("tasks", str(task.task_id)) == listed[0]
    assert "succeeded" in shop.lab.ok("tasks").out
    assert shop.lab.fails(5, "tasks", str(uuid4()))["code"] == "task-unknown"
    assert shop.lab.fails(2, "tasks", "nonsense")["code"] == "task-text"
    assert shop.lab.fails(8, "tasks", str(task.task_id), "--cancel")["code"] == "task-ended"
    assert shop.lab.fails(2, "worker", "--once", "--restore-to", shop.folder / "none")["code"] == "restore-folder"


def test_housekeeping_is_done_and_its_failures_are_told(shop: Shop) -> None:
    """What else a worker looks after is done in every round; a failure is told once, and ends no work."""
    done: list[int] = []

    def chore() -> None:
        done.append(1)
        raise Conflict("the place is full", code="x")

    shop.worker(housekeeping=[chore]).run(lambda: len(done) >= 3)
    assert shop.warnings == ["the place is full"]
