"""Work that a worker left is taken over and done once; beside a living worker nothing is taken."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from catalog.domain import events as ev
from catalog.domain import requests as rq
from catalog.domain.task import TaskState
from ingest.backup import machine_lock
from ingest.worker import worker as worker_module
from storage.errors import Conflict
from tests.support.lab import MIB, make_image, pieces, write_at
from tests.support.shop import BEA, SIZE, Shop


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
