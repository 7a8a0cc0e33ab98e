"""Restores whose process died: what they made is removed later, and nothing that anybody may use."""

from __future__ import annotations

import pytest

from adapters.port import Leftover
from adapters.xen.inventory import read_vdis
from adapters.xen.marks import MAKING_KEY
from adapters.xen.source import XenSource
from tests.adapters.xen.conftest import MakeSource
from tests.adapters.xen.dying import Killed, dying
from tests.adapters.xen.freezes import frozen, machine_named
from tests.adapters.xen.test_restore import CONTENTS, LABEL, Image, configuration_of, wanted
from tests.adapters.xen.test_restore import pool as pool  # noqa: PLC0414 - a fixture
from tests.support.xapi import XapiSimulator

AGAIN = "web again"


def killed(
    pool: XapiSimulator,
    source_of: MakeSource,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    *,
    after: bool = True,
    number: int = 1,
) -> XenSource:
    """Let a process die over a restore; return the source of the next one."""
    doomed = source_of(pool)
    request = wanted(doomed)
    with monkeypatch.context() as patch:
        dying(doomed, patch, method, after=after, number=number)
        with pytest.raises(Killed):
            doomed.restore_machine(request, lambda _: None)
    return source_of(pool)


def left(pool: XapiSimulator) -> tuple[int, int]:
    """How many machines of that name there are, and disks beside those of the first machine."""
    return len(pool.records.find("VM", name_label=AGAIN)), len(pool.records.find("VDI", type="user")) - 2


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(
    ("method", "number"),
    [
        ("VM.create", 1),
        ("VDI.create", 1),
        ("VDI.create", 2),
        ("VBD.create", 1),
        ("task.create", 1),
        ("task.get_record", 2),
        ("VIF.create", 1),
        ("VM.get_uuid", 1),
        ("VM.remove_from_other_config", 1),
        ("VDI.remove_from_other_config", 1),
    ],
)
def test_killed_at_each_step(
    pool: XapiSimulator,
    source_of: MakeSource,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    number: int,
    after: bool,
) -> None:
    """Before or after each effect: all of it goes, or none once it was whole; a second time finds nothing."""
    source = killed(pool, source_of, monkeypatch, method, after=after, number=number)
    found = source.remove_unfinished(LABEL, 2)
    if method == "VDI.remove_from_other_config" or (after and method == "VM.remove_from_other_config"):
        assert found == [Leftover(f"machine {AGAIN}", "kept: it is whole")]
        assert [pool.content(AGAIN, place) for place in (0, 1)] == CONTENTS
        assert not any(MAKING_KEY in pool.record("VDI", ref)["other_config"] for ref in pool.records.find("VDI"))
        return
    assert left(pool) == (0, 0)
    assert source.remove_unfinished(LABEL, 2) == []
    assert bool(found) == (after or method != "VM.create")
    assert {leftover.action for leftover in found} <= {"removed"}


def test_killed_while_it_removed(pool: XapiSimulator, source_of: MakeSource, monkeypatch: pytest.MonkeyPatch) -> None:
    """Disks whose machine went already are known by themselves."""
    again = killed(pool, source_of, monkeypatch, "VIF.create")
    with monkeypatch.context() as patch:
        dying(again, patch, "VDI.destroy", after=True)
        with pytest.raises(Killed):
            again.remove_unfinished(LABEL, 2)
    assert left(pool) == (0, 1)
    assert len(source_of(pool).remove_unfinished(LABEL, 2)) == 1
    assert left(pool) == (0, 0)


def test_what_ended_bears_no_mark(pool: XapiSimulator, source: XenSource) -> None:
    """A restore that ended leaves nothing that could be taken for unfinished, nor do snapshots of its machine."""
    source.restore_machine(wanted(source), lambda _: None)
    with frozen(source, AGAIN):
        assert source.remove_unfinished(LABEL, 2) == [Leftover(f"machine {AGAIN}", "kept: it is whole")]
    assert source.remove_unfinished("holdfast-restore-2", 2) == []
    assert [pool.content(AGAIN, place) for place in (0, 1)] == CONTENTS


@pytest.mark.parametrize("use", ["runs", "snapshot", "copy"])
def test_a_machine_that_somebody_uses_stays(
    pool: XapiSimulator, source_of: MakeSource, monkeypatch: pytest.MonkeyPatch, use: str
) -> None:
    """Running, with a snapshot, or copied: it is named, stays with its disks, and is a machine like others then."""
    source = killed(pool, source_of, monkeypatch, "VIF.create")
    vm = pool.vm(AGAIN)
    if use == "runs":
        pool.records.set("VM", vm, power_state="Running")
    else:
        source._session.task("VM.snapshot" if use == "snapshot" else "VM.clone", vm, "somebody's")
    assert Leftover(f"machine {AGAIN}", "kept, unfinished: somebody uses it") in source.remove_unfinished(LABEL, 2)
    assert [pool.content(AGAIN, place) for place in (0, 1)] == CONTENTS
    assert AGAIN in {machine.name for machine in source.inventory()}
    assert not any(MAKING_KEY in vdi.other_config for vdi in read_vdis(source._session) if not vdi.snapshot)


def test_what_is_being_made_is_no_machine_yet(
    pool: XapiSimulator, source_of: MakeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backup of all machines leaves it out, so no base is taken of what an import is still writing."""
    source = killed(pool, source_of, monkeypatch, "VIF.create")
    assert [machine.name for machine in source.inventory()] == ["web"]
    assert any("1 of kind unfinished restore" in ability for ability in source.check().abilities)


def test_a_disk_that_somebody_took_stays(
    pool: XapiSimulator, source_of: MakeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk of it that another machine has, too, is theirs."""
    source = killed(pool, source_of, monkeypatch, "VIF.create")
    vdi = pool.vdi(AGAIN)
    pool.records.create("VBD", VM=pool.vm("web"), VDI=vdi, userdevice="7", type="Disk", mode="RW")
    actions = {leftover.what.split()[0]: leftover.action for leftover in source.remove_unfinished(LABEL, 2)}
    assert left(pool) == (0, 1)
    assert actions["machine"] == "removed"
    assert pool.disks.content(vdi) == CONTENTS[0]


def test_its_machine_can_be_made_again(
    pool: XapiSimulator, source_of: MakeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the clean-up the name is free for the restore that is tried once more."""
    source = killed(pool, source_of, monkeypatch, "VIF.create")
    source.remove_unfinished(LABEL, 2)
    source.restore_machine(wanted(source), lambda _: None)
    assert {machine.name for machine in source.inventory()} == {"web", AGAIN}
    assert machine_named(source, AGAIN).key == pool.record("VM", pool.vm(AGAIN))["uuid"]
    assert configuration_of(source, AGAIN)
    assert Image(CONTENTS[0]).size_bytes == len(pool.content(AGAIN, 0))
