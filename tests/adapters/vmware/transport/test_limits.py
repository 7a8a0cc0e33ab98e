"""The open connections to one host stay within its limit, and nobody starves for another's idle one."""

from __future__ import annotations

import http.client
import ssl
from threading import Thread

import pytest

from adapters.errors import SourceLimit
from adapters.vmware.transport.limits import HostConnections, connections_to
from tests.support.eventually import eventually


class Idle(http.client.HTTPSConnection):
    """A connection that was never made."""

    def __init__(self) -> None:
        super().__init__("localhost")
        self.closed = False

    def close(self) -> None:
        super().close()
        self.closed = True


@pytest.fixture
def trust() -> ssl.SSLContext:
    """One source's trust."""
    return ssl.create_default_context()


def test_places_are_counted() -> None:
    """The limit's places can be taken, one more cannot, and a place that is left can be taken again."""
    places = HostConnections("vc", 2)
    assert places.take(None) is None
    assert places.take(None) is None
    with pytest.raises(SourceLimit) as refused:
        places.take(None, seconds=0)
    assert refused.value.code == "host-connections"
    places.leave()
    assert places.take(None, seconds=0) is None
    assert places.open == 2


def test_a_waiting_reader_gets_the_place_that_is_left() -> None:
    """Who waits for a place has it as soon as somebody leaves, or as the limit is raised."""
    places = HostConnections("vc", 1)
    places.take(None)
    waiting = [Thread(target=places.take, args=(None,)) for _ in range(2)]
    for thread in waiting:
        thread.start()
    places.leave()
    eventually(lambda: sum(thread.is_alive() for thread in waiting) == 1, "one has the place")
    places.limit(2)
    for thread in waiting:
        thread.join(30)
        assert not thread.is_alive()


def test_a_parked_connection_serves_its_own_trust_only(trust: ssl.SSLContext) -> None:
    """A parked connection is handed out under the trust it was made with; for others it is closed when places lack."""
    places = HostConnections("vc", 2)
    parked = Idle()
    places.take(trust)
    places.park(trust, parked)
    assert places.take(ssl.create_default_context()) is None  # a free place is better than closing
    assert not parked.closed
    assert places.take(trust) is parked
    places.park(trust, parked)
    assert places.take(None, seconds=0) is None
    assert parked.closed
    assert places.open == 2


def test_parked_connections_are_closed_with_their_last_reader(trust: ssl.SSLContext) -> None:
    """Readers that share a trust share its waiting connections; the last one to part closes those, and no others."""
    places = HostConnections("vc", 2)
    mine, other = Idle(), Idle()
    strange = ssl.create_default_context()
    for owner, connection in [(trust, mine), (strange, other)]:
        places.join(owner)
        places.take(owner)
        places.park(owner, connection)
    places.join(trust)
    places.part(trust)
    assert (mine.closed, places.open) == (False, 2)
    places.part(trust)
    assert (mine.closed, other.closed, places.open) == (True, False, 1)


def test_a_host_has_one_set_of_places() -> None:
    """Every reader of a host shares its places, however the host is capitalised."""
    assert connections_to("VC.example", 443) is connections_to("vc.example", 443)
    assert connections_to("vc.example", 443) is not connections_to("vc.example", 8443)
