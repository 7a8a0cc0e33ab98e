"""The choice of a transport: every kind chosen or rejected with a reason, and nothing replaced silently."""

from __future__ import annotations

import pytest

from adapters.errors import SourceUnavailable
from adapters.port import TransportChoice
from adapters.xen.settings import KNOWN_TRANSPORTS, TRANSPORTS
from adapters.xen.transport.choose import blockers, choose_transport
from adapters.xen.transport.facts import KINDS, VdiFacts, purposes_of


def facts(*purposes: str, addresses: int = 1) -> VdiFacts:
    """A VDI in a pool with networks of these purposes."""
    return VdiFacts("xvda of web", 1 << 30, frozenset(purposes), addresses)


def why(choice: TransportChoice) -> dict[str, str]:
    """What was rejected, and why."""
    return {rejected.kind: rejected.why for rejected in choice.rejected}


def test_nbd_is_preferred() -> None:
    """NBD in TLS is taken where there is a network for it; each other kind says why not."""
    choice = choose_transport(facts("nbd"), TRANSPORTS)
    assert (choice.kind, choice.requested) == ("nbd", None)
    assert why(choice) == {
        "insecure_nbd": "the source's settings do not allow it;"
        " no network of the pool has the purpose insecure_nbd, only nbd",
        "export": "nbd is better",
    }


def test_without_a_network_the_export_is_taken() -> None:
    """A pool without an NBD network, or whose hosts have no address in it, is read by export, and says so."""
    choice = choose_transport(facts(), TRANSPORTS)
    assert (choice.kind, why(choice)["nbd"]) == ("export", "no network of the pool has the purpose nbd")
    choice = choose_transport(facts("nbd", addresses=0), TRANSPORTS)
    assert choice.kind == "export"
    assert "no host that sees the disk" in why(choice)["nbd"]


def test_clear_text_is_never_taken_unless_allowed_by_name() -> None:
    """A pool with an insecure network only is read by export or not at all; with leave in clear text, and named so."""
    choice = choose_transport(facts("insecure_nbd"), TRANSPORTS)
    assert choice.kind == "export"
    assert "do not allow" in why(choice)["insecure_nbd"]
    assert why(choice)["nbd"] == "no network of the pool has the purpose nbd, only insecure_nbd"
    with pytest.raises(SourceUnavailable) as none:
        choose_transport(facts("insecure_nbd"), ("nbd",))
    assert none.value.code == "no-transport"
    assert all(kind in none.value.why for kind in KINDS)
    assert choose_transport(facts("insecure_nbd"), KNOWN_TRANSPORTS).kind == "insecure_nbd"
    assert choose_transport(facts("nbd"), KNOWN_TRANSPORTS).kind == "nbd"


def test_contradicting_networks_serve_nothing() -> None:
    """Hosts of a pool with both purposes refuse every connection: neither is tried."""
    for kind in ("nbd", "insecure_nbd"):
        assert "contradict" in blockers(kind, facts("nbd", "insecure_nbd"))[0]


def test_what_is_asked_for_is_taken_or_refused() -> None:
    """The only kind that is allowed is never replaced by another one."""
    choice = choose_transport(facts("nbd"), ["export"])
    assert (choice.kind, choice.requested) == ("export", "export")
    with pytest.raises(SourceUnavailable, match="no network of the pool has the purpose nbd"):
        choose_transport(facts(), ["nbd"])


def test_purposes_are_taken_from_records() -> None:
    """All networks count; a record without purposes has none."""
    assert purposes_of([{"purpose": ["nbd"]}, {"purpose": []}, {}, {"purpose": ["insecure_nbd", "nbd"]}]) == {
        "nbd",
        "insecure_nbd",
    }
    assert set(KINDS) == set(KNOWN_TRANSPORTS)
