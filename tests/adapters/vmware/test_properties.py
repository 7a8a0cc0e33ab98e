"""Reading the inventory in pages, whatever becomes of the session meanwhile."""

from __future__ import annotations

import pytest
from pyVmomi import vim

from adapters.errors import SourceLimit
from adapters.vmware import properties
from adapters.vmware.inventory import list_machines
from adapters.vmware.properties import read_all, read_object
from tests.adapters.vmware.conftest import MakeSession, MakeSource, StartVsphere
from tests.support.soap_proxy import SoapProxy
from tests.support.vcsim_process import Vcsim
from tests.support.vsphere import VsphereSimulator
from tests.support.vsphere.building import MachineSpec

NAMES = [f"vm{number}" for number in range(5)]


@pytest.fixture
def vsphere(start_vsphere: StartVsphere) -> VsphereSimulator:
    """Five machines."""
    return start_vsphere(*(MachineSpec(name) for name in NAMES))


@pytest.fixture
def two_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small pages."""
    monkeypatch.setattr(properties, "PAGE_OBJECTS", 2)


def test_pages_are_followed_at_vcsim(
    two_a_page: None, behind: Vcsim, proxy: SoapProxy, session_of: MakeSession
) -> None:
    """The third party's simulator gives its four machines in pages, and its view is given back."""
    session = session_of(behind)
    assert len(list_machines(session)) == 4
    assert proxy.rules.seen.count("ContinueRetrievePropertiesEx") == 1
    assert proxy.rules.seen.count("CreateContainerView") == proxy.rules.seen.count("DestroyView")


@pytest.mark.parametrize("call", ["ContinueRetrievePropertiesEx", "RetrievePropertiesEx", "CreateContainerView"])
@pytest.mark.parametrize("spoil", ["expire_sessions", "lose_reply"])
def test_an_interruption_loses_no_machine(
    two_a_page: None, vsphere: VsphereSimulator, source_of: MakeSource, call: str, spoil: str
) -> None:
    """A session that ends, or a reply that is lost, between two pages starts the listing anew."""
    source = source_of(vsphere)
    source.inventory()
    getattr(vsphere.faults, spoil)(call)
    assert sorted(machine.name for machine in source.inventory()) == NAMES


def test_what_is_not_told_is_not_false(vsphere: VsphereSimulator, source_of: MakeSource) -> None:
    """A property that a machine lacks is absent, and neither None nor False."""
    session = source_of(vsphere)._session
    machine = session.bound(vim.VirtualMachine, read_all(session, vim.VirtualMachine, ["name"])[0].moref)
    values = read_object(session, machine, ["name", "config.keyId", "snapshot"])
    assert set(values) == {"name"}


def test_a_list_without_end_is_refused(
    two_a_page: None, vsphere: VsphereSimulator, source_of: MakeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More objects than anybody has are an error, not a full memory."""
    monkeypatch.setattr(properties, "MOST_OBJECTS", 3)
    with pytest.raises(SourceLimit) as caught:
        source_of(vsphere).inventory()
    assert caught.value.code == "inventory-too-large"
