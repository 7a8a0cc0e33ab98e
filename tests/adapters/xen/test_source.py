"""The pool as a source: what it lists, what it says of itself, and what it never says."""

from __future__ import annotations

import logging

import pytest

from adapters.errors import AdapterError, SourceDenied, SourceInvalid, SourceNotFound
from adapters.port import SnapshotRequest
from adapters.xen.source import XenSource
from tests.adapters.xen.conftest import MakeSource, StartPool
from tests.adapters.xen.freezes import LABEL, bases_of, frozen, machine_named
from tests.support.xapi import XapiSimulator
from tests.support.xapi.building import NO_TRACKING, DiskSpec, MachineSpec, SrSpec
from tests.support.xapi.faults import FailTask


def test_machines_are_known_by_their_uuids(pool: XapiSimulator, source: XenSource) -> None:
    """Names may double and change; templates, snapshots and control domains are no machines."""
    before = [machine.key for machine in source.inventory()]
    template = pool.add_machine(MachineSpec("web", running=False))
    pool.records.set("VM", template, is_a_template=True)
    twin = pool.add_machine(MachineSpec("web"))
    with frozen(source, "db"):
        found = source.inventory()
    assert {machine.key for machine in found} == {*before, pool.record("VM", twin)["uuid"]}
    assert [machine.key for machine in found] == sorted(machine.key for machine in found)
    pool.records.set("VM", twin, name_label="renamed")
    assert machine_named(source, "renamed").key == pool.record("VM", twin)["uuid"]


def test_a_check_says_what_is_no_machine_and_why(start_pool: StartPool, source_of: MakeSource) -> None:
    """Product and version, how many machines, what storage tracks, and what is left out."""
    disks = (DiskSpec(sr="local"), DiskSpec(sr="gfs2"))
    srs = (SrSpec("local"), SrSpec("gfs2", type="gfs2", features=NO_TRACKING))
    pool = start_pool([MachineSpec("vm", disks=disks)], srs=srs)
    template = pool.add_machine(MachineSpec("base", running=False))
    pool.records.set("VM", template, is_a_template=True)
    fact = source_of(pool).check()
    assert (fact.product, fact.version) == ("XCP-ng", "8.3.0")
    said = "; ".join(fact.abilities)
    for words in ("1 machines", "1 of kind template", "1 of kind control domain", "crash consistent"):
        assert words in said
    assert "changed block tracking on local" in said
    assert "only full backups on gfs2" in said


def test_insecure_ways_are_told(pool: XapiSimulator, source_of: MakeSource) -> None:
    """Whoever opted out of a protection reads so in every check."""
    source = source_of(pool, insecure=True, transports=("nbd", "insecure_nbd"))
    assert sum("INSECURE" in ability for ability in source.check().abilities) == 2


def test_a_template_is_not_backed_up(pool: XapiSimulator, source: XenSource) -> None:
    """A machine that became one since it was listed is refused by what it is."""
    machine = machine_named(source, "web")
    pool.records.set("VM", pool.vm("web"), is_a_template=True)
    with pytest.raises(SourceInvalid) as caught:
        source.snapshot(machine, SnapshotRequest(LABEL, {"0": None}))
    assert caught.value.code == "machine-is-none"


def test_a_disk_that_is_not_there(pool: XapiSimulator, source: XenSource) -> None:
    """Asking for it raises SourceNotFound, and nothing was asked of the pool."""
    machine = machine_named(source, "web")
    with pytest.raises(SourceNotFound):
        source.snapshot(machine, SnapshotRequest(LABEL, {"0": None, "7": None}))
    assert pool.calls["VM.snapshot"] == 0


def test_suspended_and_halted_machines(start_pool: StartPool, source_of: MakeSource) -> None:
    """Both are backed up, crash consistent; an image of memory is no disk."""
    pool = start_pool([MachineSpec("off", running=False), MachineSpec("asleep")])
    image = pool.disks.make(pool.records.find("SR", name_label="local")[0], 1 << 20, type="suspend")
    pool.records.set("VM", pool.vm("asleep"), power_state="Suspended", suspend_VDI=image)
    source = source_of(pool)
    for name in ("off", "asleep"):
        with frozen(source, name) as snapshot:
            assert snapshot.disks.keys() == {"0"}
            assert snapshot.consistency == "crash"


def test_no_secret_is_said(pool: XapiSimulator, source_of: MakeSource, caplog: pytest.LogCaptureFixture) -> None:
    """Neither the password nor a session's id is in an error, its causes, a log, a token or a representation."""
    caplog.set_level(logging.DEBUG)
    source = source_of(pool)
    bases = bases_of(source, "web")
    session = source._session.session_id().reveal()
    said = [repr(source), repr(source._tools), caplog.text, *bases.values()]
    with frozen(source, "web", bases) as snapshot:
        said += [repr(snapshot), repr(snapshot.disks["0"].choice), repr(vars(snapshot.disks["0"]))]
    pool.password = "another"
    pool.world.password = "another one"
    pool.expire_sessions()
    with pytest.raises(SourceDenied) as refused:
        source.inventory()
    error: BaseException | None = refused.value
    while error is not None:
        said += [repr(error), str(error), *map(str, vars(error).values())]
        error = error.__cause__ or error.__context__
    for secret in (session, XapiSimulator.password):
        assert all(secret not in text for text in said)


def test_a_user_without_rights(pool: XapiSimulator, source: XenSource) -> None:
    """Which permission is missing is told, and where it is listed."""
    pool.faults.on("VM.snapshot", FailTask("RBAC_PERMISSION_DENIED", ("VM.snapshot", "no")))
    with pytest.raises(AdapterError) as caught:
        bases_of(source, "web")
    assert caught.value.code == "rbac-permission-denied"
    assert "README" in caught.value.hint


@pytest.mark.parametrize(
    ("purposes", "transports", "said"),
    [
        (["nbd"], ("nbd", "export"), "disks travel over nbd"),
        ([], ("nbd", "export"), "disks travel whole each time (export): no network has the purpose nbd"),
        (["nbd"], ("export",), "disks travel whole each time (export)"),
        (["insecure_nbd"], ("nbd", "export"), "disks travel whole each time (export)"),
        (["insecure_nbd"], ("nbd", "insecure_nbd"), "disks travel over insecure_nbd"),
        (["nbd", "insecure_nbd"], ("nbd",), "no way to the disks"),
        ([], ("nbd",), "no way to the disks"),
    ],
)
def test_a_check_says_how_disks_would_travel(
    pool: XapiSimulator, source_of: MakeSource, purposes: list[str], transports: tuple[str, ...], said: str
) -> None:
    """Before the first backup of hours, not after it."""
    (network,) = pool.records.find("network")
    pool.records.set("network", network, purpose=purposes)
    assert any(ability.startswith(said) for ability in source_of(pool, transports=transports).check().abilities)
