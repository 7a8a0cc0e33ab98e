"""The source as a whole, on the third party's simulator and on ours."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from adapters.errors import AdapterError, SourceDenied, SourceInvalid, SourceNotFound, SourceUnavailable
from adapters.port import BlockReader, MachineFact, TransportChoice
from adapters.vmware.source import VmwareSource
from adapters.vmware.transport.access import DiskAccess
from adapters.vmware.transport.limits import connections_to
from adapters.vmware.transport.opening import open_reader as open_by_choice
from tests.adapters.vmware.conftest import MakeSource, StartVsphere
from tests.adapters.vmware.freezes import LABEL, bases_of, frozen, machine_named, request
from tests.support.vcsim_process import PASSWORD, Vcsim, running_vcsim
from tests.support.vsphere.building import MachineSpec
from tests.support.vsphere.devices import DiskSpec

MIB = 1 << 20


@pytest.fixture
def on_vcsim(vcsim: Vcsim, tmp_path: Path) -> VmwareSource:
    """A source on the third party's simulator."""
    return VmwareSource("vc", vcsim.settings(), tmp_path / "run")


def test_vcsim_is_checked_and_listed(on_vcsim: VmwareSource) -> None:
    """Product, version and machines of a server that is not ours."""
    fact = on_vcsim.check()
    assert "vCenter" in fact.product
    assert fact.version
    assert "4 machines" in fact.abilities
    machines = on_vcsim.inventory()
    assert len(machines) == 4
    assert all(machine.disks[0].size_bytes == 10 << 30 for machine in machines)
    on_vcsim.close()


def test_an_esxi_host_is_a_server_too(tmp_path: Path) -> None:
    """A host without a vCenter lists, freezes and lets go."""
    with running_vcsim(tmp_path, "-esx", "-vm", "1") as esx:
        source = VmwareSource("esx", esx.settings(), tmp_path / "run")
        (machine,) = source.inventory()
        source.snapshot(machine, request(machine)).release(committed=True)
        source.close()


def test_insecure_is_told(vcsim: Vcsim, tmp_path: Path) -> None:
    """Nobody overlooks that a certificate is not checked."""
    source = VmwareSource("vc", vcsim.settings(insecure=True), tmp_path / "run")
    assert any("INSECURE" in ability for ability in source.check().abilities)
    source.close()


def test_a_snapshot_of_vcsim_comes_and_goes(on_vcsim: VmwareSource) -> None:
    """The whole flow against the third party's simulator, which has no change ids: no base, nothing left."""
    machine = on_vcsim.inventory()[0]
    snapshot = on_vcsim.snapshot(machine, request(machine))
    (disk,) = snapshot.disks.values()
    assert disk.base_token is None
    assert disk.choice is not None
    assert disk.choice.kind == "http_folder"
    assert {file.name for file in snapshot.configuration} >= {"config.json", f"{machine.name}.vmx"}
    snapshot.confirm()
    snapshot.release(committed=True)
    assert on_vcsim.reconcile(machine, {}) == []
    on_vcsim.close()


def test_a_crash_on_vcsim_is_cleaned_up(vcsim: Vcsim, tmp_path: Path) -> None:
    """What a dead process left at the third party's simulator is found by its mark."""
    dead = VmwareSource("vc", vcsim.settings(), tmp_path / "run")
    machine = dead.inventory()[1]
    dead.snapshot(machine, request(machine))
    dead.close()
    source = VmwareSource("vc", vcsim.settings(), tmp_path / "run")
    assert [item.action for item in source.reconcile(machine, {})] == ["removed"]
    assert source.reconcile(machine, {}) == []
    source.close()


def test_many_jobs_keep_the_hosts_limit(start_vsphere: StartVsphere, source_of: MakeSource) -> None:
    """Jobs of several sources at once share the places of each ESXi host, and all get their turn."""
    machines = [MachineSpec(f"vm{number}", disks=(DiskSpec(MIB), DiskSpec(MIB))) for number in range(6)]
    vsphere = start_vsphere(*machines)
    taken: set[tuple[str, int]] = set()

    def opened(choice: TransportChoice, access: DiskAccess) -> BlockReader:
        reader, places = open_by_choice(choice, access), connections_to(access.place, access.port)
        read = reader.pread_into

        def counted(offset: int, buffer: memoryview) -> None:
            read(offset, buffer)
            taken.add((access.place, places.open))

        reader.pread_into = counted  # type: ignore[method-assign]
        return reader

    def job(name: str) -> int:
        source = source_of(vsphere, connections_per_host=2, open_reader=opened)
        read = 0
        with frozen(source, name) as snapshot:
            for disk in snapshot.disks.values():
                reader, again = disk.open(), disk.open()
                for offset in range(0, MIB, 65536):
                    (reader if offset % 131072 else again).pread_into(offset, memoryview(bytearray(4096)))
                    read += 4096
                again.close()
                reader.close()
        return read

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(job, [spec.name for spec in machines])) == [2 * 16 * 4096] * 6
    assert len({place for place, _ in taken}) == 2
    assert {number for _, number in taken} <= {0, 1, 2}


def test_fifty_machines_at_once(tmp_path: Path) -> None:
    """Fifty jobs with sessions of their own against the third party's simulator: each gets and gives its snapshot."""
    with running_vcsim(tmp_path, "-vm", "25") as busy:

        def job(machine: MachineFact) -> bool:
            source = VmwareSource("vc", busy.settings(), tmp_path / "run")
            snapshot = source.snapshot(machine, request(machine))
            snapshot.confirm()
            snapshot.release(committed=True)
            clean = source.reconcile(machine, {}) == []
            source.close()
            return clean

        listing = VmwareSource("vc", busy.settings(), tmp_path / "run")
        machines = listing.inventory()
        listing.close()
        with ThreadPoolExecutor(50) as pool:
            assert list(pool.map(job, machines)) == [True] * 50


# --- machines that are not as they should be ---


def test_a_template_is_listed_and_refused(start_vsphere: StartVsphere, source_of: MakeSource) -> None:
    """Its disks are excluded; asking for a snapshot says what to do."""
    source = source_of(start_vsphere(MachineSpec("golden", template=True, powered_on=False)))
    machine = machine_named(source, "golden")
    assert all(disk.exclusion for disk in machine.disks)
    with pytest.raises(SourceInvalid) as caught:
        source.snapshot(machine, request(machine))
    assert caught.value.code == "machine-template"


@pytest.mark.parametrize("state", ["disconnected", "orphaned", "inaccessible", "invalid"])
def test_a_machine_out_of_reach_is_listed_and_refused(
    start_vsphere: StartVsphere, source_of: MakeSource, state: str
) -> None:
    """A machine whose host or files are gone stays in the list; its backup fails with its state."""
    vsphere = start_vsphere(MachineSpec("vm"), MachineSpec("well"))
    vsphere.machine("vm").connection_state = state
    source = source_of(vsphere)
    machine = machine_named(source, "vm")
    assert any("vm" in ability for ability in source.check().abilities)
    with pytest.raises(SourceUnavailable) as caught:
        source.snapshot(machine, request(machine))
    assert caught.value.code == "machine-inaccessible"
    assert state in str(caught.value)
    assert bases_of(source, "well")


def test_a_suspended_machine_is_backed_up(start_vsphere: StartVsphere, source_of: MakeSource) -> None:
    """It cannot come to rest, and its point says so."""
    vsphere = start_vsphere(MachineSpec("vm", disks=(DiskSpec(MIB),)))
    vsphere.machine("vm").power_state = "suspended"
    with frozen(source_of(vsphere), "vm", consistency="application") as snapshot:
        assert (snapshot.consistency, snapshot.fallback_cause) == ("crash", "machine-suspended")


def test_an_encrypted_machine_is_not_read_as_files(start_vsphere: StartVsphere, source_of: MakeSource) -> None:
    """Its files hold ciphertext: no transport that reads files is chosen, and without another one it fails."""
    vsphere = start_vsphere(MachineSpec("vm", disks=(DiskSpec(MIB, key_id="key-7"),), key_id="key-7"))
    source = source_of(vsphere)
    with pytest.raises(SourceUnavailable) as caught:
        bases_of(source, "vm")
    assert caught.value.code == "no-transport"
    assert "encrypted" in caught.value.why
    assert vsphere.snapshots("vm") == []


def test_excluded_disks_are_seen_and_not_frozen(start_vsphere: StartVsphere, source_of: MakeSource) -> None:
    """Physical raw device mappings, independent and multi-writer disks are in the list with their way out."""
    specs = (
        DiskSpec(MIB),
        DiskSpec(MIB, rdm="physicalMode"),
        DiskSpec(MIB, mode="independent_persistent"),
        DiskSpec(MIB, sharing="sharingMultiWriter"),
        DiskSpec(MIB, rdm="virtualMode"),
    )
    source = source_of(start_vsphere(MachineSpec("vm", disks=specs)))
    machine = machine_named(source, "vm")
    assert [disk.exclusion is not None for disk in machine.disks] == [False, True, True, True, False]
    with frozen(source, "vm") as snapshot:
        assert set(snapshot.disks) == {machine.disks[0].key, machine.disks[4].key}
    with pytest.raises(SourceInvalid) as caught:
        source.snapshot(machine, type(request(machine))(LABEL, {machine.disks[1].key: None}))
    assert caught.value.code == "disk-excluded"


def test_a_machine_that_is_gone_is_not_found(start_vsphere: StartVsphere, source_of: MakeSource) -> None:
    """By its uuid, not by its name, which another machine may have."""
    source = source_of(start_vsphere(MachineSpec("vm")))
    machine = machine_named(source, "vm")
    gone = replace(machine, key="52000000-0000-0000-0000-000000000000")
    for attempt in (lambda: source.snapshot(gone, request(machine)), lambda: source.reconcile(gone, {})):
        with pytest.raises(SourceNotFound) as caught:
            attempt()
        assert caught.value.code == "machine-missing"


def test_a_changed_certificate_stops_the_release(start_vsphere: StartVsphere, source_of: MakeSource) -> None:
    """A server that shows another certificate in the middle is not spoken to any more, not even to clean up."""
    vsphere = start_vsphere(MachineSpec("vm", disks=(DiskSpec(MIB),)))
    source = source_of(vsphere)
    machine = machine_named(source, "vm")
    snapshot = source.snapshot(machine, request(machine))
    vsphere.change_certificate()
    source._session._stub.DropConnections()
    with pytest.raises(SourceDenied) as caught:
        snapshot.release(committed=True)
    assert caught.value.code == "certificate-changed"
    again = source_of(vsphere)
    assert [item.action for item in again.reconcile(machine, {})] == ["removed"]


def test_errors_hold_no_password(vcsim: Vcsim, tmp_path: Path) -> None:
    """Whatever fails, the password is in no message and no argument."""
    source = VmwareSource("vc", replace(vcsim.settings(), port=1), tmp_path / "run")
    with pytest.raises(AdapterError) as caught:
        source.check()
    assert PASSWORD not in repr(vars(caught.value)) + repr(caught.value.__cause__) + repr(caught.value.__context__)
    assert PASSWORD not in repr(source._settings)
