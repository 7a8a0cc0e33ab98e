"""Snapshots of single disks: a pool that dies over a machine's leaves such ones, and they are named, never removed."""

from __future__ import annotations

import pytest

from adapters.errors import AdapterError
from adapters.xen.source import XenSource
from tests.adapters.xen.conftest import StartPool
from tests.adapters.xen.freezes import bases_of, machine_named, request
from tests.support.xapi.building import DiskSpec, MachineSpec
from tests.support.xapi.faults import FailTask, ForgetTask, Meanwhile
from tests.support.xapi.simulator import XapiSimulator


@pytest.fixture
def pool(start_pool: StartPool) -> XapiSimulator:
    """A machine with two disks."""
    return start_pool([MachineSpec("vm", disks=(DiskSpec(), DiskSpec()))])


def named(source: XenSource) -> str:
    """What a check says of such snapshots."""
    return "; ".join(ability for ability in source.check().abilities if "single disks" in ability)


@pytest.mark.parametrize("end", [FailTask("INTERNAL_ERROR", ("died",)), ForgetTask()])
def test_a_pool_that_died_over_a_snapshot(
    pool: XapiSimulator, source: XenSource, end: FailTask | ForgetTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the disks that it had frozen, and no others; a check names all, and nothing removes them."""
    theirs = pool.disks.snapshot(pool.vdi("vm", 1))
    frozen: list[str] = []
    pool.faults.on("VM.snapshot", Meanwhile(lambda: frozen.append(pool.disks.snapshot(pool.vdi("vm")))))
    pool.faults.on("VM.snapshot", end)
    if isinstance(end, ForgetTask):
        monkeypatch.setitem(pool._api._handlers, "VM.snapshot", lambda *_: "")
    machine = machine_named(source, "vm")
    with pytest.raises(AdapterError) as caught:
        source.snapshot(machine, request(machine))
    uuids = [pool.record("VDI", ref)["uuid"] for ref in (*frozen, theirs)]
    assert uuids[0] in caught.value.why
    assert uuids[1] not in caught.value.why
    assert "xe vdi-destroy" in caught.value.hint
    assert source.reconcile(machine, {}) == []
    assert all(uuid in named(source) for uuid in uuids)


def test_what_is_ours_or_of_a_machines_snapshot_is_not_named(pool: XapiSimulator, source: XenSource) -> None:
    """Neither while a snapshot is there, nor of the change tracking that stays."""
    machine = machine_named(source, "vm")
    snapshot = source.snapshot(machine, request(machine))
    source._session.task("VM.snapshot", pool.vm("vm"), "somebody's")
    assert named(source) == ""
    snapshot.release(committed=True)
    bases_of(source, "vm")
    assert named(source) == ""


def test_a_refusal_stays_as_it_is(pool: XapiSimulator, source: XenSource) -> None:
    """Where nothing was frozen, or nothing was asked for, the error says what it said."""
    machine = machine_named(source, "vm")
    pool.faults.on("VM.snapshot", FailTask("SR_FULL", ("1", "2")))
    with pytest.raises(AdapterError) as caught:
        source.snapshot(machine, request(machine))
    assert "frozen" not in caught.value.why
