"""kill -9 of a worker at any moment: each task ends once, and what it makes is made once, with the right bytes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from random import Random
from uuid import UUID, uuid4

import pytest

from catalog.access.caller import EVERYTHING, Caller, Role
from catalog.domain import events as ev
from catalog.domain import requests as rq
from catalog.domain.ids import task_point_id
from catalog.domain.task import TaskState
from catalog.log import EventLog
from catalog.tasks import TaskBook
from tests.support.lab import MIB, Lab, make_image, pieces, write_at

BEA = Caller("bea", "token", Role.ADMIN, EVERYTHING)
KILLS = 16
EVENTS = 25
"""More than any of the tasks takes, so that some come through."""
SIZE = 16 * MIB
KINDS = ("backup", "restore", "synthetic", "verification")


class Campaign:
    """Requests, and workers that are killed over them."""

    def __init__(self, lab: Lab, seed: int) -> None:
        self.lab = lab
        self.random = Random(seed)
        self.image = lab.images / "vm.raw"
        make_image(self.image, SIZE, list(pieces(self.random, [(0, 8 * MIB)])))
        self.known = {digest(self.image)}
        lab.add_images()
        self.folder = lab.root / "restored"
        self.folder.mkdir()
        self.points = [UUID(lab.backup_one()["restore_point"])]
        self.machine_id = lab.of_type(ev.MachineSeen)[0].originator_id
        self.log = EventLog.open(lab.home.event_file)
        self.book = TaskBook(self.log, lab.home.read_config().repository_id, lambda: datetime.now(UTC), uuid4)
        self.asked: list[TaskState] = []
        self.killed = 0

    def change(self) -> None:
        """Write into the image as a guest would."""
        for _ in range(3):
            data = self.random.randbytes(self.random.choice([10, 100_000, MIB]))
            write_at(self.image, self.random.randrange(SIZE - len(data)), data)
        self.known.add(digest(self.image))

    def ask(self, kind: str) -> None:
        """Ask for one piece of work, about a point that a backup made."""
        point, key = self.random.choice(self.points), f"key-{len(self.asked)}"
        if kind == "backup":
            self.change()
            task = self.book.request_backup(BEA, source="lab", full=True, idempotency_key=key)
        elif kind == "synthetic":
            task = self.book.request_synthetic(BEA, restore_point_id=point, idempotency_key=key)
        elif kind == "restore":
            task = self.book.request_restore(BEA, restore_point_id=point, to=f"r/{key}", idempotency_key=key)
        else:
            task = self.book.request_verification(BEA, restore_point_id=point, idempotency_key=key)
        self.asked.append(task)

    def work(self, *, kill: bool) -> None:
        """Run a worker that is killed at some moment behind some event of its work, or comes to its end."""
        last = self.log.position() + self.random.randrange(1, EVENTS) if kill else sys.maxsize
        process = self.lab.start("worker", "--once", "--restore-to", self.folder)
        while process.poll() is None and self.log.position() < last:
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.002)
        with suppress(subprocess.TimeoutExpired):
            process.wait(self.random.uniform(0, 0.05))
        process.kill()
        _, err = process.communicate()
        self.killed += process.returncode == -signal.SIGKILL
        assert process.returncode in (0, -signal.SIGKILL), err

    def states(self) -> list[TaskState]:
        return [self.book.task(BEA, task.task_id) for task in self.asked]


def digest(path: Path) -> str:
    """Name a content."""
    return blake2b(path.read_bytes()).hexdigest()


@pytest.fixture
def campaign(tmp_path: Path) -> Iterator[Campaign]:
    """One machine of two MiB packs, backed up once."""
    seed = int(os.environ.get("HOLDFAST_SEED", "20241123"))
    sys.stdout.write(f"seed {seed}\n")
    made = Campaign(Lab(tmp_path, pack_bytes=2 * MIB), seed)
    with closing(made.log):
        yield made


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_killed_workers_do_each_task_once(campaign: Campaign) -> None:
    """After 16 kills over all kinds of work every task has ended well once, with one effect each."""
    lab = campaign.lab
    while campaign.killed < KILLS:
        campaign.ask(KINDS[len(campaign.asked) % len(KINDS)])
        campaign.work(kill=True)
    campaign.work(kill=False)
    states = campaign.states()
    attempts = Counter(state.attempts for state in states)
    sys.stdout.write(f"{campaign.killed} killed, tasks by attempts: {sorted(attempts.items())}\n")
    assert [state.status for state in states] == ["succeeded"] * len(states), states
    ends = Counter(event.originator_id for event in lab.of_type(rq.TaskSucceeded))
    assert ends == Counter(state.task_id for state in states)
    _assert_points(campaign, states)
    _assert_restores(campaign, [state for state in states if state.kind == "restore"])
    verified = Counter(event.originator_id for event in lab.of_type(ev.RestorePointVerified))
    assert verified == Counter(
        point for state in states if state.kind == "verification" for point in state.restore_points
    )
    lab.ok("verify", "--level", "stored")


def _assert_points(campaign: Campaign, states: list[TaskState]) -> None:
    """Each backup and synthetic full has one restore point, and no other exists; each is a content that was."""
    making = [state for state in states if state.kind in ("backup", "synthetic")]
    expected = [task_point_id(state.task_id, campaign.machine_id) for state in making]
    assert [state.restore_points for state in making] == [(point,) for point in expected]
    made = [event.restore_point_id for event in campaign.lab.of_type(ev.RestorePointCommitted)]
    assert sorted(made) == sorted(campaign.points + expected)
    for point in made:
        target = campaign.lab.restore(point.hex)
        assert digest(target) in campaign.known
        target.unlink()


def _assert_restores(campaign: Campaign, states: list[TaskState]) -> None:
    """Each restore is a directory with its image, exact, and what it is; nothing is left of the attempts."""
    for state in states:
        request = state.request
        assert isinstance(request, rq.RestoreRequested)
        target = campaign.folder / request.to
        manifest = json.loads((target / "restore.json").read_text())
        assert manifest["task"] == str(state.task_id)
        (image,) = manifest["images"]
        assert {path.name for path in target.iterdir()} == {"restore.json", image["file"]}
        expected = campaign.lab.restored(request.restore_point_id.hex)
        assert (target / image["file"]).read_bytes() == expected
    names = {path.name for path in (campaign.folder / "r").iterdir()}
    assert names == {
        state.request.to.split("/")[1] for state in states if isinstance(state.request, rq.RestoreRequested)
    }


def test_two_workers_share_the_work(campaign: Campaign) -> None:
    """Of two workers at the same tasks each task is done by one, in one attempt, and told once."""
    for number in range(8):
        campaign.ask(KINDS[number % len(KINDS)])
    workers = [campaign.lab.start("worker", "--once", "--json", "--restore-to", campaign.folder) for _ in range(2)]
    told = []
    for process in workers:
        out, err = process.communicate()
        assert process.returncode == 0, err
        told += [json.loads(line) for line in out.splitlines()]
    states = campaign.states()
    assert sorted(record["task_id"] for record in told) == sorted(str(state.task_id) for state in states)
    assert {(state.status, state.attempts) for state in states} == {("succeeded", 1)}
    _assert_points(campaign, states)
