"""Restores to a source whose process died: removed by who speaks to the source next, and never a living one."""

from __future__ import annotations

from random import Random

import pytest

from adapters.errors import SourceUnavailable
from catalog.domain.restoring import SourceRestoreCompleted, SourceRestoreFailed, SourceRestoreStarted
from ingest.deadrestores import living
from ingest.locks import exclusive
from ingest.signals import Interrupted, never
from ingest.sourcerestore import SourceRestore
from tests.support.lab import CHUNK, Lab
from tests.support.memory_source_simulator import Hypervisor, SimulatedMachine

TO_DC1 = ("--to-source", "dc1")
CONTENT = Random(1).randbytes(2 * CHUNK)


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


def dies(lab: Lab, monkeypatch: pytest.MonkeyPatch, point: str, *options: str) -> None:
    """A restore whose process dies before its end is recorded."""
    with monkeypatch.context() as patched:
        patched.setattr(SourceRestore, "_completed", lambda *_: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            lab.run("restore", point, *TO_DC1, *options)


def told_by_doctor(lab: Lab) -> str | None:
    """What the doctor says of open restores, None when there is none."""
    row = next(row for row in lab.run("doctor", "--json").json() if row["check"] == "restores")
    return row["detail"] if row["status"] == "warn" else None


@pytest.mark.parametrize("command", ["backup", "restore"])
def test_the_next_command_removes_what_was_left(
    lab: Lab, hypervisor: Hypervisor, point: str, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """A backup of the source and a restore to it: half a machine goes, its end is recorded once, and both are told."""
    dies(lab, monkeypatch, point, "--as", "half")
    label = lab.of_type(SourceRestoreStarted)[-1].label
    assert f"dc1/half ({label}, new-machine)" in (told_by_doctor(lab) or "")
    arguments = ("backup", "dc1/web") if command == "backup" else ("restore", point, *TO_DC1, "--as", "half")
    assert "a restore of half had died; machine half: removed" in lab.ok(*arguments).err
    assert f"key-{label}" not in hypervisor.machines
    (failed,) = lab.of_type(SourceRestoreFailed)
    assert (failed.kind, failed.code) == ("interrupted", "found-dead")
    assert "machine half: removed" in failed.why
    assert told_by_doctor(lab) is None
    assert "died" not in lab.ok(*arguments[:2], *(TO_DC1 if command == "restore" else ())).err


def test_a_living_restore_is_left_alone(
    lab: Lab, hypervisor: Hypervisor, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While any process restores to the source nothing is taken for dead."""
    dies(lab, monkeypatch, point, "--as", "half")
    with lab.services() as services, living(services, "dc1", never):
        lab.ok("backup", "dc1/web")
        assert lab.of_type(SourceRestoreFailed) == []
        lab.ok("restore", point, *TO_DC1, "--as", "another")
    assert [machine.name for machine in hypervisor.machines.values()] == ["web", "half", "another"]
    lab.ok("backup", "dc1/web")
    assert [machine.name for machine in hypervisor.machines.values()] == ["web", "another"]


def test_a_restore_waits_for_a_clean_up_or_an_interrupt(lab: Lab) -> None:
    """It does not begin while somebody removes dead ones, who would take it for one of them."""
    with (
        lab.services() as services,
        exclusive(services.home.lock_dir, "restores-dc1", busy="no"),
        pytest.raises(Interrupted),
        living(services, "dc1", lambda: True),
    ):
        raise AssertionError("it began")


def test_a_clean_up_that_fails_is_pending(
    lab: Lab, hypervisor: Hypervisor, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The backup goes on and says so; the restore stays open, for the doctor and for the next command."""
    dies(lab, monkeypatch, point, "--as", "half")
    hypervisor.untidy = SourceUnavailable("the disk is held", code="held")
    assert "clean-up of a restore of half that died is pending: the disk is held" in lab.ok("backup", "dc1/web").err
    assert lab.of_type(SourceRestoreFailed) == []
    assert "dc1/half" in (told_by_doctor(lab) or "")
    hypervisor.untidy = None
    lab.ok("backup", "dc1/web")
    assert told_by_doctor(lab) is None


def test_a_disk_overwritten_in_part_is_named_until_it_is_whole(
    lab: Lab, web: SimulatedMachine, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No clean-up makes it whole: only a restore of the same disk that ends does."""
    web.running = False
    dies(lab, monkeypatch, point, "--in-place", "--disk", "disk-0")
    lab.ok("backup", "dc1/web")
    assert "dc1/web (" in (told_by_doctor(lab) or "")
    assert "in-place" in (told_by_doctor(lab) or "")
    lab.ok("restore", point, *TO_DC1, "--as", "another")
    assert told_by_doctor(lab) is not None
    lab.ok("restore", point, *TO_DC1, "--in-place", "--disk", "disk-0")
    assert told_by_doctor(lab) is None
    assert len(lab.of_type(SourceRestoreCompleted)) == 2
