"""A third-party vCenter simulator for the adapter's tests, one for each module, and a proxy that breaks its answers."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from adapters.vmware.session import Session, Timing
from tests.support.qemu_vm import MISSING_TOOLS
from tests.support.soap_proxy import SoapProxy, soap_proxy
from tests.support.vcsim_process import Vcsim, running_vcsim
from tests.support.vsphere.client import Client, client
from tests.support.vsphere.simulator import VsphereSimulator

MakeSession = Callable[..., Session]


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
def vsphere() -> Iterator[VsphereSimulator]:
    """Our vSphere simulator with disks that a QEMU writes; its directory has a short path, for the sake of sockets."""
    if MISSING_TOOLS:
        pytest.skip(f"needs {', '.join(MISSING_TOOLS)}")
    with tempfile.TemporaryDirectory(prefix="hf-") as directory, VsphereSimulator(Path(directory)) as running:
        yield running


@pytest.fixture
def plain(vsphere: VsphereSimulator) -> Iterator[Client]:
    """A plain pyvmomi client, logged in at our simulator."""
    with client(vsphere.host, vsphere.port, vsphere.ca_file, vsphere.user, vsphere.password) as made:
        yield made
