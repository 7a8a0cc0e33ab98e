"""A third-party vCenter simulator for the adapter's tests, one for each module, and a proxy that breaks its answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest

from adapters.vmware.session import Session, Timing
from tests.support.soap_proxy import SoapProxy, soap_proxy
from tests.support.vcsim_process import Vcsim, running_vcsim

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
