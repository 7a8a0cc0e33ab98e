"""A third-party vCenter simulator for the adapter's tests, one for each module, and a proxy that breaks its answers."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from adapters.secret import Secret
from adapters.vmware.freezing import OpenReader
from adapters.vmware.session import Session, Timing
from adapters.vmware.settings import VmwareSettings
from adapters.vmware.snapshots import Patience
from adapters.vmware.source import VmwareSource
from adapters.vmware.transport.opening import open_reader as open_by_choice
from tests.support.qemu_vm import MISSING_TOOLS
from tests.support.soap_proxy import SoapProxy, soap_proxy
from tests.support.vcsim_process import Vcsim, running_vcsim
from tests.support.vsphere.building import MachineSpec
from tests.support.vsphere.client import Client, client
from tests.support.vsphere.simulator import DEFAULT_MACHINES, VsphereSimulator

MakeSession = Callable[..., Session]
MakeSource = Callable[..., VmwareSource]
StartVsphere = Callable[..., VsphereSimulator]


def lose_patience(session: Session) -> None:
    """Give calls 0.4 s from now on, but not the login before, which a starved machine may be slow with."""
    _ = session.content
    assert session._stub is not None
    session._stub.schemeArgs["timeout"] = 0.4
    session._stub.DropConnections()


@pytest.fixture(scope="module")
def vcsim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vcsim]:
    """A vCenter with four machines."""
    with running_vcsim(tmp_path_factory.mktemp("vcsim"), "-vm", "2") as running:
        yield running


@pytest.fixture
def proxy(vcsim: Vcsim) -> Iterator[SoapProxy]:
    """A proxy with the certificate of the vCenter behind it."""
    with soap_proxy(vcsim.port, vcsim.certificate) as running:
        yield running


@pytest.fixture
def behind(vcsim: Vcsim, proxy: SoapProxy) -> Vcsim:
    """The vCenter as it is seen through the proxy."""
    return replace(vcsim, port=proxy.port)


@pytest.fixture
def session_of() -> Iterator[MakeSession]:
    """Make sessions that are closed at the end of the test."""
    with ExitStack() as stack:

        def make(vcsim: Vcsim, timing: Timing | None = None, **others: object) -> Session:
            session = Session(vcsim.settings(**others), timing)
            stack.callback(session.close)
            return session

        yield make


@pytest.fixture
def start_vsphere() -> Iterator[StartVsphere]:
    """Start our vSphere simulator with the given machines."""
    if MISSING_TOOLS:
        pytest.skip(f"needs {', '.join(MISSING_TOOLS)}")
    with ExitStack() as stack:

        def start(*machines: MachineSpec) -> VsphereSimulator:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hf-")))
            return stack.enter_context(VsphereSimulator(directory, machines))

        yield start


@pytest.fixture
def source_of(tmp_path: Path) -> Iterator[MakeSource]:
    """Make sources on a simulator that are closed at the end of the test, and never sleep."""
    with ExitStack() as stack:

        def make(
            vsphere: VsphereSimulator,
            timing: Timing | None = None,
            patience: Patience | None = None,
            open_reader: OpenReader = open_by_choice,
            **others: object,
        ) -> VmwareSource:
            settings = VmwareSettings(
                **{
                    "host": vsphere.host,
                    "user": vsphere.user,
                    "password": Secret(lambda: vsphere.password),
                    "port": vsphere.port,
                    "fingerprint": vsphere.fingerprint,
                }
                | others
            )
            source = VmwareSource(
                "vc",
                settings,
                tmp_path / "run",
                timing=timing,
                patience=patience,
                sleep=lambda _: None,
                open_reader=open_reader,
            )
            stack.callback(source.close)
            return source

        yield make


@pytest.fixture
def vsphere(start_vsphere: StartVsphere) -> VsphereSimulator:
    """Our vSphere simulator with its usual machines."""
    return start_vsphere(*DEFAULT_MACHINES)


@pytest.fixture
def plain(vsphere: VsphereSimulator) -> Iterator[Client]:
    """A plain pyvmomi client, logged in at our simulator."""
    with client(vsphere.host, vsphere.port, vsphere.ca_file, vsphere.user, vsphere.password) as made:
        yield made
