"""Work that is cancelled stops, leaves nothing half made, and says what stands."""

from __future__ import annotations

from datetime import UTC, datetime
from random import Random
from typing import Any

import pytest

from catalog.domain import events as ev
from catalog.domain.task import TaskState
from ingest.backup import machine_lock
from ingest.signals import Interrupted, never
from ingest.worker import hand, jobs
from tests.support.eventually import eventually
from tests.support.lab import MIB, make_image, pieces
from tests.support.shop import BEA, SIZE, Shop


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
