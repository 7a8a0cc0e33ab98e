"""Restores to a source that were killed: the source's next run removes what they left, and nothing else."""

from __future__ import annotations

from datetime import timedelta

import pytest

from adapters.errors import SourceUnavailable
from catalog.domain.restoring import SourceRestoreFailed, SourceRestoreStarted
from ingest import unfinished
from ingest.unfinished import restoring
from tests.support.lab import CHUNK, Lab
from tests.support.memory_source_simulator import Hypervisor, MemorySource, SimulatedMachine

TO_DC1 = ("--to-source", "dc1")


class Killed(BaseException):
    """What no code of ours expects."""


@pytest.fixture
def died(lab: Lab, hypervisor: Hypervisor, monkeypatch: pytest.MonkeyPatch) -> SimulatedMachine:
    """A machine `half` that a restore of `web` had just begun; the restore's process is gone."""
    hypervisor.add("web", b"1" * CHUNK)
    lab.ok("source", "add", "dc1", "--kind", "memory")
    point = lab.backup_one(target="dc1")["restore_point"]
    with monkeypatch.context() as patched:
        patched.setattr(MemorySource, "restore_machine", _kill)
        with pytest.raises(Killed):
            lab.run("restore", point, *TO_DC1, "--as", "half")
    (started,) = lab.of_type(SourceRestoreStarted)
    half = hypervisor.machines[f"key-{started.label}"] = SimulatedMachine("half", {}, running=False, whole=False)
    return half


def _kill(*_: object) -> None:
    raise Killed


def _doctor(lab: Lab) -> str:
    """What `doctor` says of restores."""
    return str(next(row["status"] for row in lab.json("doctor") if row["check"] == "restores"))


def test_the_next_backup_removes_it(lab: Lab, hypervisor: Hypervisor, died: SimulatedMachine) -> None:
    """It is told and recorded, once, and the backup is made."""
    assert _doctor(lab) == "warn"
    answer = lab.run("backup", "dc1/web", "--json")
    assert answer.code == 0
    assert "a restore had died, machine half: removed" in answer.err
    assert [machine.name for machine in hypervisor.machines.values()] == ["web"]
    (failed,) = lab.of_type(SourceRestoreFailed)
    assert (failed.kind, failed.code, failed.why) == ("interrupted", "found-dead", "machine half: removed")
    assert _doctor(lab) == "ok"
    lab.backup_one(target="dc1/web")
    assert len(lab.of_type(SourceRestoreFailed)) == 1


def test_the_next_restore_removes_it(lab: Lab, hypervisor: Hypervisor, died: SimulatedMachine) -> None:
    """So that it can have the same name."""
    lab.ok("restore", "latest", *TO_DC1, "--as", "half")
    assert [machine.whole for machine in hypervisor.machines.values() if machine.name == "half"] == [True]


def test_one_that_is_whole_is_kept(lab: Lab, hypervisor: Hypervisor, died: SimulatedMachine) -> None:
    """That a restore died before it recorded its end is no reason to take the machine away."""
    died.whole = True
    assert "machine half: kept: it is whole" in lab.run("backup", "dc1/web").err
    assert died in hypervisor.machines.values()
    assert _doctor(lab) == "ok"


def test_a_restore_that_runs_is_left_alone(lab: Lab, hypervisor: Hypervisor, died: SimulatedMachine) -> None:
    """As long as a process holds it nothing of it is touched."""
    (started,) = lab.of_type(SourceRestoreStarted)
    with lab.services() as services, restoring(services, started.originator_id):
        lab.backup_one(target="dc1/web")
    assert died in hypervisor.machines.values()
    lab.backup_one(target="dc1/web")
    assert died not in hypervisor.machines.values()


def test_a_removal_that_fails_is_tried_again(lab: Lab, hypervisor: Hypervisor, died: SimulatedMachine) -> None:
    """It costs no backup, and is told."""
    hypervisor.release_errors = [SourceUnavailable("the source is busy", code="busy")]
    answer = lab.run("backup", "dc1/web")
    assert (answer.code, "clean-up is pending: the source is busy" in answer.err) == (0, True)
    assert _doctor(lab) == "warn"
    lab.backup_one(target="dc1/web")
    assert _doctor(lab) == "ok"


def test_what_is_not_there_may_still_come(
    lab: Lab, hypervisor: Hypervisor, died: SimulatedMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A source may be making it yet; the restore is over when that cannot be any more."""
    hypervisor.machines = {key: one for key, one in hypervisor.machines.items() if one is not died}
    lab.backup_one(target="dc1/web")
    assert _doctor(lab) == "warn"
    monkeypatch.setattr(unfinished, "_MAY_STILL_COME", timedelta(0))
    lab.backup_one(target="dc1/web")
    assert lab.of_type(SourceRestoreFailed)[0].why == "nothing of it is at the source"
    assert _doctor(lab) == "ok"


def test_a_source_that_cannot_tell_is_not_asked(
    lab: Lab, hypervisor: Hypervisor, died: SimulatedMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There `doctor` goes on naming it."""
    monkeypatch.delattr(MemorySource, "discard_unfinished")
    lab.backup_one(target="dc1/web")
    assert died in hypervisor.machines.values()
    assert _doctor(lab) == "warn"
