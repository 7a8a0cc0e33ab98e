"""A worker does each task once, tells how it ended, and stops when it is asked to."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from random import Random
from typing import Any
from uuid import UUID, uuid4

import pytest

from catalog.access.caller import EVERYTHING, Caller, Role
from catalog.domain import events as ev
from catalog.domain import requests as rq
from catalog.domain.task import TaskState
from catalog.log import EventLog
from catalog.tasks import TaskBook
from ingest.backup import machine_lock
from ingest.signals import Interrupted, never
from ingest.worker import Worker, hand, jobs
from ingest.worker import worker as worker_module
from ingest.worker.worker import WorkerSettings
from storage.errors import Conflict
from tests.support.eventually import eventually
from tests.support.lab import MIB, Lab, flip, make_image, pieces, write_at
from tests.support.nbd_peers import need

BEA = Caller("bea", "token", Role.ADMIN, EVERYTHING)
SIZE = 4 * MIB


class Shop:
    """A repository with one machine, and both sides of the counter."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.image = lab.images / "vm.raw"
        make_image(self.image, SIZE, list(pieces(Random(3), [(0, 2 * MIB)])))
        lab.add_images()
        self.folder = lab.root / "restored"
        self.folder.mkdir()
        self.log = EventLog.open(lab.home.event_file)
        self.repository_id = lab.home.read_config().repository_id
        self.book = TaskBook(self.log, self.repository_id, lambda: datetime.now(UTC), uuid4)
        self.told: list[TaskState] = []
        self.warnings: list[str] = []

    def worker(self, name: str = "w", restores: bool = True, **options: Any) -> Worker:
        settings = WorkerSettings(name, self.folder if restores else None)
        return Worker(self.lab.home, settings, tell=self.told.append, warn=self.warnings.append, **options)

    def work(self, stop: Callable[[], bool] = never, **options: Any) -> None:
        self.worker(**options).run(stop, once=True)

    def state(self, task: TaskState) -> TaskState:
        return self.book.task(BEA, task.task_id)

    def backup(self) -> UUID:
        return UUID(self.lab.backup_one()["restore_point"])

    def machine_id(self) -> UUID:
        return self.lab.of_type(ev.MachineSeen)[0].originator_id


@pytest.fixture
def shop(lab: Lab) -> Iterator[Shop]:
    """A shop, open."""
    made = Shop(lab)
    with closing(made.log):
        yield made


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


class Cancelling:
    """A clock that cancels a task when it was asked for the time so often."""

    def __init__(self, shop: Shop, task: TaskState, after: int) -> None:
        self._shop, self._task, self._after = shop, task, after
        self._asked = 0

    def __call__(self) -> float:
        self._asked += 1
        if self._asked == self._after:
            self._shop.book.cancel(BEA, self._task.task_id)
        return float(self._asked)


@pytest.mark.parametrize("after", [3, 6, 9])
def test_a_backup_can_be_cancelled(shop: Shop, after: int) -> None:
    """A task that is stopped ends as cancelled when it made nothing: no restore point, no snapshot, no open run."""
    task = shop.book.request_backup(BEA, source="lab")
    shop.work(monotonic=Cancelling(shop, task, after))
    state = shop.state(task)
    assert (state.status, state.cancelled_by) == ("cancelled", "bea")
    assert shop.lab.of_type(ev.RestorePointCommitted) == []
    assert len(shop.lab.of_type(ev.SnapshotRequested)) == len(shop.lab.of_type(ev.SnapshotReleased))
    assert len(shop.lab.of_type(ev.RunOpened)) == len(shop.lab.of_type(ev.RunClosed))
    assert shop.lab.restored(shop.lab.backup_one()["restore_point"]) == shop.image.read_bytes()


def test_what_was_made_before_a_cancel_stands(shop: Shop) -> None:
    """Of two machines the first has its restore point when the task is stopped: it ends as partial, and names it."""
    make_image(shop.lab.images / "zz.raw", SIZE, list(pieces(Random(4), [(0, 2 * MIB)])))
    task = shop.book.request_backup(BEA, source="lab")
    shop.work(monotonic=_CancelAfterCommit(shop, task))
    state = shop.state(task)
    (committed,) = shop.lab.of_type(ev.RestorePointCommitted)
    assert (state.status, state.restore_points) == ("partial", (committed.restore_point_id,))
    assert "stopped" in state.detail


class _CancelAfterCommit:
    """A clock that cancels a task once there is a restore point."""

    def __init__(self, shop: Shop, task: TaskState) -> None:
        self._shop, self._task = shop, task
        self._now = 0.0
        self._done = False

    def __call__(self) -> float:
        self._now += 1
        if not self._done and self._shop.lab.of_type(ev.RestorePointCommitted):
            self._done = True
            self._shop.book.cancel(BEA, self._task.task_id)
        return self._now


def test_a_backup_that_died_between_two_machines_goes_on_with_the_second(shop: Shop) -> None:
    """Over two attempts each machine gets one restore point, and the task names both."""
    make_image(shop.lab.images / "zz.raw", SIZE, list(pieces(Random(4), [(0, 2 * MIB)])))
    task = shop.book.request_backup(BEA, source="lab")
    shop.work(stop=lambda: bool(shop.lab.of_type(ev.RestorePointCommitted)))
    assert shop.state(task).status == "running"
    (first,) = shop.lab.of_type(ev.RestorePointCommitted)
    shop.work()
    state = shop.state(task)
    made = shop.lab.of_type(ev.RestorePointCommitted)
    assert [event.machine for event in made] == ["vm", "zz"]
    assert made[0] == first
    assert (state.status, state.attempts) == ("succeeded", 2)
    assert state.restore_points == tuple(event.restore_point_id for event in made)


def test_a_task_that_is_cancelled_while_it_is_taken_is_not_done(shop: Shop) -> None:
    """Of a worker and a cancel that come at once one wins; behind a cancel nothing is begun."""
    task = shop.book.request_backup(BEA, source="lab")
    late = hand.TaskInHand(shop.log, task, clock=lambda: datetime.now(UTC), monotonic=lambda: 0.0, stop=never)
    assert shop.book.cancel(BEA, task.task_id).status == "cancelled"
    assert not late.start("w")
    assert shop.state(task).attempts == 0


def test_a_cancel_reaches_another_process(shop: Shop) -> None:
    """A worker that waits for a busy machine hears of a cancel, ends the task without a restore point, and goes on."""
    point = shop.backup()
    with shop.lab.services() as services, machine_lock(services, services.catalog.machines()[0], "worked on"):
        task = shop.book.request_backup(BEA, source="lab")
        other = shop.book.request_verification(BEA, restore_point_id=point)
        process = shop.lab.start("worker", "--once")
        eventually(lambda: shop.state(task).attempts, "the task is taken")
        assert shop.book.cancel(BEA, task.task_id).status == "cancelling"
        _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert shop.state(task).status == "cancelled"
    assert shop.state(other).status == "succeeded"
    assert len(shop.lab.of_type(ev.RestorePointCommitted)) == 1


@pytest.mark.parametrize("kind", ["restore", "qcow2", "verification", "synthetic"])
def test_other_work_can_be_cancelled(shop: Shop, kind: str) -> None:
    """Cancelled work leaves nothing behind: no file, no verification, no restore point."""
    point = shop.backup()
    if kind == "verification":
        task = shop.book.request_verification(BEA, restore_point_id=point)
    elif kind == "synthetic":
        task = shop.book.request_synthetic(BEA, restore_point_id=point)
    else:
        image_format: Any = "qcow2" if kind == "qcow2" else "raw"
        task = shop.book.request_restore(BEA, restore_point_id=point, to="x", image_format=image_format)
    with shop.lab.services() as services:
        in_hand = hand.TaskInHand(services.log, task, clock=services.clock, monotonic=lambda: 0.0, stop=never)
        in_hand.start("w")
        shop.book.cancel(BEA, task.task_id)
        bench = jobs.Bench(services, shop.folder)
        if kind == "qcow2":
            return _assert_ended(shop, bench, in_hand)
        with pytest.raises(Interrupted):
            jobs.JOBS[type(task.request)](bench, in_hand, task.request)
    assert in_hand.cancelled
    assert list(shop.folder.iterdir()) == []
    assert shop.lab.of_type(ev.RestorePointVerified) == []
    assert len(shop.lab.of_type(ev.RestorePointCommitted)) == 1
    return None


def _assert_ended(shop: Shop, bench: jobs.Bench, in_hand: hand.TaskInHand) -> None:
    """A small image may be converted before anybody looks: whole or nothing."""
    try:
        jobs.JOBS[type(in_hand.state.request)](bench, in_hand, in_hand.state.request)
    except Interrupted:
        assert list(shop.folder.iterdir()) == []
    else:
        assert [path.name for path in shop.folder.iterdir()] == ["x"]


def test_a_worker_that_is_told_to_go_leaves_its_task(shop: Shop) -> None:
    """A signal ends the attempt, not the task: the next worker takes it over and makes its one restore point."""
    task = shop.book.request_backup(BEA, source="lab")
    shop.work(stop=lambda: bool(shop.lab.of_type(ev.SnapshotCreated)))
    assert shop.state(task).status == "running"
    assert shop.told == []
    shop.work(name="v")
    state = shop.state(task)
    assert (state.status, state.attempts, state.worker) == ("succeeded", 2, "v")
    assert len(shop.lab.of_type(ev.RestorePointCommitted)) == 1


@pytest.mark.parametrize("kind", ["backup", "synthetic", "restore", "verification"])
@pytest.mark.parametrize("cancelled", [False, True])
def test_work_whose_end_was_not_recorded_is_found(
    shop: Shop, kind: str, cancelled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that dies between the work and its record made it for good: the next finds it, source or no source."""
    point = shop.backup()
    write_at(shop.image, 100, b"changed")
    ask: dict[str, Callable[[], TaskState]] = {
        "backup": lambda: shop.book.request_backup(BEA, source="lab"),
        "synthetic": lambda: shop.book.request_synthetic(BEA, restore_point_id=point),
        "restore": lambda: shop.book.request_restore(BEA, restore_point_id=point, to="x"),
        "verification": lambda: shop.book.request_verification(BEA, restore_point_id=point),
    }
    task = ask[kind]()
    with monkeypatch.context() as patch:
        patch.setattr(worker_module, "_succeed", _die)
        with pytest.raises(KeyboardInterrupt):
            shop.work()
    before = shop.lab.recorded()
    inode = (shop.folder / "x").stat().st_ino if kind == "restore" else None
    if kind == "backup":
        shop.lab.ok("source", "remove", "lab")
    if cancelled:
        assert shop.book.cancel(BEA, task.task_id).status == "cancelling"
    shop.work()
    state = shop.state(task)
    made = [event for event in shop.lab.recorded() if isinstance(event, ev.RestorePointCommitted)]
    assert made == [event for event in before if isinstance(event, ev.RestorePointCommitted)]
    if kind == "verification":  # nothing of it was recorded, so that nothing was done
        assert state.status == ("cancelled" if cancelled else "succeeded")
        assert len(shop.lab.of_type(ev.RestorePointVerified)) == (0 if cancelled else 1)
        return
    assert (state.attempts, state.ended_at is not None) == (2, True)
    assert state.status in ("succeeded", "partial")
    assert state.restore_points == (point if kind == "restore" else made[-1].restore_point_id,)
    if inode is not None:
        assert (shop.folder / "x").stat().st_ino == inode


def _die(*_: object) -> None:
    raise KeyboardInterrupt


def test_attempts_are_bounded(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A task that kills each of its workers is given up after so many."""
    monkeypatch.setattr(worker_module, "MAX_ATTEMPTS", 2)
    monkeypatch.setitem(worker_module.JOBS, rq.BackupRequested, _die)  # type: ignore[index]  # only read otherwise
    task = shop.book.request_backup(BEA, source="lab")
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            shop.work()
    shop.work()
    state = shop.state(task)
    assert state.failure is not None
    assert state.failure[:2] == ("limit", "task-attempts")


def test_a_task_that_somebody_holds_is_left_alone(shop: Shop) -> None:
    """Beside a living worker another takes nothing; once the first is gone it takes over."""
    task = shop.book.request_backup(BEA, source="lab")
    first = shop.worker("first")
    with first._held(task.task_id):
        shop.work(name="second")
        assert shop.state(task).status == "requested"
    shop.work(name="second")
    assert shop.state(task).worker == "second"


def test_two_tasks_for_one_machine_follow_each_other(shop: Shop) -> None:
    """A machine that is being worked on is waited for by a task, unless it is stopped."""
    with shop.lab.services() as services:
        shop.backup()
        machine = services.catalog.machines()[0]
        asked: list[int] = []

        def stop() -> bool:
            asked.append(1)
            return len(asked) > 3

        task = shop.book.request_synthetic(BEA, restore_point_id=machine.restore_points[0].restore_point_id)
        with machine_lock(services, machine, "backed up"):
            shop.work(stop=stop)
            assert shop.state(task).status == "running"
            with pytest.raises(Conflict), machine_lock(services, machine, "backed up"):
                pass
        shop.work()
    assert shop.state(task).status == "succeeded"


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
