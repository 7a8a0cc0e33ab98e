"""Restores to a source whose process died: removed by who speaks to the source next, and never a living one."""

from __future__ import annotations

from datetime import timedelta
from random import Random

import pytest

from adapters.errors import SourceUnavailable
from catalog.domain.restoring import SourceRestoreCompleted, SourceRestoreFailed, SourceRestoreStarted
from ingest import deadrestores
from ingest.deadrestores import living
from ingest.sourcerestore import SourceRestore
from tests.support.lab import CHUNK, Lab
from tests.support.memory_source_simulator import Hypervisor, MemorySource, SimulatedMachine

TO_DC1 = ("--to-source", "dc1")
CONTENT = Random(1).randbytes(2 * CHUNK)


class Killed(BaseException):
    """What no code of ours expects."""


def kill(*_: object) -> None:
    """Take the place of a step at which the process dies."""
    raise Killed


@pytest.fixture
def web(lab: Lab, hypervisor: Hypervisor) -> SimulatedMachine:
    """A machine of one disk, added as a source's."""
    machine = hypervisor.add("web", CONTENT)
    lab.ok("source", "add", "dc1", "--kind", "memory")
    return machine


@pytest.fixture
def point(lab: Lab, web: SimulatedMachine) -> str:
    """Its restore point."""
    return str(lab.backup_one(target="dc1")["restore_point"])


@pytest.fixture
def half(lab: Lab, hypervisor: Hypervisor, point: str, monkeypatch: pytest.MonkeyPatch) -> SimulatedMachine:
    """A machine `half` that a restore of `web` had begun; the restore's process is gone."""
    with monkeypatch.context() as patched:
        patched.setattr(MemorySource, "restore_machine", kill)
        with pytest.raises(Killed):
            lab.run("restore", point, *TO_DC1, "--as", "half")
    (started,) = lab.of_type(SourceRestoreStarted)
    made = hypervisor.machines[f"key-{started.label}"] = SimulatedMachine("half", {}, running=False, whole=False)
    return made


def told_by_doctor(lab: Lab) -> str | None:
    """What the doctor says of open restores, None when there is none."""
    row = next(row for row in lab.run("doctor", "--json").json() if row["check"] == "restores")
    return str(row["detail"]) if row["status"] == "warn" else None


@pytest.mark.parametrize("command", ["backup", "restore"])
def test_the_next_command_removes_what_was_left(
    lab: Lab, hypervisor: Hypervisor, point: str, half: SimulatedMachine, command: str
) -> None:
    """A backup of the source and a restore to it: half a machine goes, its end is recorded once, and both are told."""
    (started,) = lab.of_type(SourceRestoreStarted)
    assert f"dc1/half ({started.label}, new-machine)" in (told_by_doctor(lab) or "")
    arguments = ("backup", "dc1/web") if command == "backup" else ("restore", point, *TO_DC1, "--as", "half")
    assert "a restore of half had died; machine half: removed" in lab.ok(*arguments).err
    assert half not in hypervisor.machines.values()
    (failed,) = lab.of_type(SourceRestoreFailed)
    assert (failed.kind, failed.code) == ("interrupted", "found-dead")
    assert failed.why == "its process died; machine half: removed"
    assert told_by_doctor(lab) is None
    assert "died" not in lab.ok("backup", "dc1/web").err
    assert len(lab.of_type(SourceRestoreFailed)) == 1


def test_one_that_is_whole_is_kept(lab: Lab, hypervisor: Hypervisor, half: SimulatedMachine) -> None:
    """That a restore died before it recorded its end is no reason to take the machine away."""
    half.whole = True
    assert "machine half: kept: it is whole" in lab.run("backup", "dc1/web").err
    assert half in hypervisor.machines.values()
    assert told_by_doctor(lab) is None


def test_a_living_restore_is_left_alone(lab: Lab, hypervisor: Hypervisor, point: str, half: SimulatedMachine) -> None:
    """As long as a process holds it nothing of it is touched, and others restore beside it."""
    (started,) = lab.of_type(SourceRestoreStarted)
    with lab.services() as services, living(services, started.originator_id):
        lab.ok("backup", "dc1/web")
        lab.ok("restore", point, *TO_DC1, "--as", "another")
        assert half in hypervisor.machines.values()
        assert lab.of_type(SourceRestoreFailed) == []
    lab.ok("backup", "dc1/web")
    assert [machine.name for machine in hypervisor.machines.values()] == ["web", "another"]


def test_a_clean_up_that_fails_is_pending(lab: Lab, hypervisor: Hypervisor, half: SimulatedMachine) -> None:
    """The backup goes on and says so; the restore stays open, for the doctor and for the next command."""
    hypervisor.release_errors = [SourceUnavailable("the disk is held", code="held")]
    assert "clean-up of a restore of half that died is pending: the disk is held" in lab.ok("backup", "dc1/web").err
    assert lab.of_type(SourceRestoreFailed) == []
    assert "dc1/half" in (told_by_doctor(lab) or "")
    lab.ok("backup", "dc1/web")
    assert told_by_doctor(lab) is None


def test_what_is_not_there_may_still_come(
    lab: Lab, hypervisor: Hypervisor, half: SimulatedMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A source may be making it yet; the restore is over when that cannot be any more."""
    hypervisor.machines = {key: one for key, one in hypervisor.machines.items() if one is not half}
    lab.ok("backup", "dc1/web")
    assert told_by_doctor(lab) is not None
    monkeypatch.setattr(deadrestores, "_MAY_STILL_COME", timedelta(0))
    lab.ok("backup", "dc1/web")
    assert lab.of_type(SourceRestoreFailed)[0].why == "its process died; nothing of it is at the source"
    assert told_by_doctor(lab) is None


def test_a_source_that_cannot_tell_is_not_asked(
    lab: Lab, hypervisor: Hypervisor, half: SimulatedMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There the doctor goes on naming it."""
    monkeypatch.delattr(MemorySource, "remove_unfinished")
    lab.ok("backup", "dc1/web")
    assert half in hypervisor.machines.values()
    assert told_by_doctor(lab) is not None


def test_a_disk_overwritten_in_part_is_named_until_it_is_whole(
    lab: Lab, web: SimulatedMachine, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No clean-up makes it whole: only a restore of the same disk that ends does."""
    web.running = False
    with monkeypatch.context() as patched:
        patched.setattr(SourceRestore, "_completed", kill)
        with pytest.raises(Killed):
            lab.run("restore", point, *TO_DC1, "--in-place", "--disk", "disk-0")
    lab.ok("backup", "dc1/web")
    assert "dc1/web (" in (told_by_doctor(lab) or "")
    assert "in-place" in (told_by_doctor(lab) or "")
    lab.ok("restore", point, *TO_DC1, "--as", "another")
    assert told_by_doctor(lab) is not None
    lab.ok("restore", point, *TO_DC1, "--in-place", "--disk", "disk-0")
    assert told_by_doctor(lab) is None
    assert len(lab.of_type(SourceRestoreCompleted)) == 2
