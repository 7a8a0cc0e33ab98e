"""A receiver whose certificate is pinned: the right one is believed whoever signed it, another one hears nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.agent_lab import AgentLab, Receiving
from tests.support.certificates import fingerprint, self_signed
from tests.support.lab import MIB, make_image
from tests.support.listening_tls import ListeningTls

DENIED = 6
WRONG = "ab" * 32


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A raw file."""
    path = tmp_path / "disk.raw"
    make_image(path, MIB, [(0, b"content")])
    return path


@pytest.fixture
def pinned(agents: AgentLab, tmp_path: Path) -> str:
    """The fingerprint of the certificate that the receiver has, which no authority signed."""
    agents.certificate, agents.key = self_signed(tmp_path / "self", "elsewhere")
    return fingerprint(agents.certificate)


@pytest.mark.parametrize("colons", [True, False])
def test_the_right_pin_needs_no_authority(agents: AgentLab, pinned: str, image: Path, colons: bool) -> None:
    """A pin alone is enough for a certificate that nobody signed and that names another host; without it, it is not."""
    token = agents.token("web")
    with agents.receiving_here() as door:
        door.trust = []
        assert door.refused(DENIED, token, "web", "--device", image)["code"] == "agent-tls-untrusted"
        door.trust = ["--fingerprint", pinned if colons else pinned.replace(":", "").lower()]
        made = door.sent(token, "web", "--device", image)
    assert agents.lab.restored(made["restore_point"]) == image.read_bytes()


def _refused(door: Receiving, token: Path, image: Path) -> None:
    problem = door.refused(DENIED, token, "web", "--device", image)
    assert (problem["kind"], problem["code"]) == ("denied", "agent-tls-pin")
    assert "pin" in problem["hint"]


def test_a_wrong_pin_is_refused_by_the_agent(agents: AgentLab, pinned: str, image: Path) -> None:
    """With another pin the receiver hears of no agent: nothing is recorded, and nobody backed up."""
    token = agents.token("web")
    with agents.receiving_here() as door:
        door.trust = ["--fingerprint", WRONG]
        _refused(door, token, image)
    assert agents.lab.json("machines") == []


@pytest.mark.parametrize("authority", [False, True], ids=["pin", "pin-and-authority"])
def test_a_wrong_server_hears_nothing(agents: AgentLab, image: Path, authority: bool) -> None:
    """Behind the handshake a server with another certificate is told nothing, though an authority vouches for it."""
    token = agents.token("web")
    trust = ["--ca", str(agents.authority.ca_file)] if authority else []
    with ListeningTls(agents.certificate, agents.key) as server:
        door = Receiving(agents, server.port)
        door.trust = [*trust, "--fingerprint", WRONG]
        _refused(door, token, image)
    assert (server.shaken, server.heard) == (1, b"")


def test_the_right_server_would_hear_the_token(agents: AgentLab, image: Path) -> None:
    """What the other tests look for is there when the pin is right."""
    token = agents.token("web")
    with ListeningTls(agents.certificate, agents.key) as server:
        door = Receiving(agents, server.port)
        door.trust = ["--fingerprint", agents.fingerprint]
        assert door.agent(token, "web", "--device", image).code != 0
    assert token.read_text().encode() in server.heard


def test_a_certificate_that_changed_is_refused(agents: AgentLab, pinned: str, image: Path, tmp_path: Path) -> None:
    """A server with a new certificate, where the pinned one was the last time, hears nothing."""
    token = agents.token("web")
    with agents.receiving_here() as door:
        door.trust = ["--fingerprint", pinned]
        door.sent(token, "web", "--device", image)
    with ListeningTls(*self_signed(tmp_path / "changed", "elsewhere")) as server:
        door.port = server.port
        _refused(door, token, image)
    assert (server.shaken, server.heard) == (1, b"")
    assert len(agents.lab.json("points")) == 1
