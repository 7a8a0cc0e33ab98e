"""Where an agent sends its token: over verified TLS, or to its own machine, or nowhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from ingest.agent.connection import Line, Receiver
from storage.errors import HoldfastError, Invalid, Unavailable
from tests.support.long_answers import long_answers

PIN = "AB:" * 31 + "ab"


@pytest.mark.parametrize(
    ("url", "host", "port", "secure"),
    [
        ("https://backup.example", "backup.example", 443, True),
        ("https://backup.example:8766/", "backup.example", 8766, True),
        ("https://[2001:db8::1]:99", "2001:db8::1", 99, True),
        ("http://127.0.0.1:8766", "127.0.0.1", 8766, False),
        ("http://localhost", "localhost", 80, False),
        ("http://[::1]:8766", "::1", 8766, False),
    ],
)
def test_addresses(url: str, host: str, port: int, secure: bool) -> None:
    """HTTPS goes anywhere, plain HTTP to this machine."""
    receiver = Receiver(url)
    assert (receiver.host, receiver.port, receiver.secure) == (host, port, secure)


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://backup.example", "agent-plain"),
        ("http://10.0.0.1:8766", "agent-plain"),
        ("http://127.0.0.1.example", "agent-plain"),
        ("ftp://localhost", "agent-server"),
        ("backup.example", "agent-server"),
        ("https://", "agent-server"),
        ("https://user@backup.example", "agent-server"),
        ("https://backup.example/path", "agent-server"),
        ("https://backup.example:port", "agent-server"),
    ],
)
def test_addresses_that_are_refused(url: str, code: str) -> None:
    """A token never travels in the clear, and an address is an address."""
    with pytest.raises(HoldfastError) as refused:
        Receiver(url)
    assert refused.value.code == code


@pytest.mark.parametrize(
    ("fingerprint", "good"), [(PIN, True), (PIN.replace(":", ""), True), ("AB", False), ("x", False)]
)
def test_fingerprints(fingerprint: str, good: bool) -> None:
    """A pin is a whole SHA-256 digest; a mistyped one is refused, not ignored."""
    if good:
        assert Receiver("https://h", fingerprint=fingerprint).pin == bytes([0xAB] * 32)
        return
    with pytest.raises(Invalid):
        Receiver("https://h", fingerprint=fingerprint)


def test_a_receiver_that_is_not_there_is_waited_for_so_long() -> None:
    """Requests are repeated with growing pauses until patience ends."""
    now, pauses = [0.0], []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        now[0] += seconds

    line = Line(Receiver("http://127.0.0.1:1"), "t", patience=10, monotonic=lambda: now[0], sleep=sleep)
    with pytest.raises(Unavailable) as failed:
        line.request("GET", "")
    line.close()
    assert failed.value.code == "agent-line"
    assert pauses == [0.2, 0.5, 1.0, 2.0, 5.0, 5.0]


@pytest.mark.parametrize("token", ["", "a\nb", "é", "a\r\nX-Other: b"])
def test_what_is_no_token_is_not_sent(token: str) -> None:
    """A token that would be no header is refused, and the error does not repeat it."""
    with pytest.raises(Invalid) as refused:
        Line(Receiver("http://localhost"), token)
    assert refused.value.code == "agent-token"
    assert not token or token not in str(refused.value)


@pytest.mark.parametrize("status", [200, 403])
def test_an_answer_that_is_too_long_is_closed(tmp_path: Path, status: int) -> None:
    """No more of it is read than an answer may have, and its socket is closed with it."""
    with long_answers(tmp_path / "ca", status) as server:
        line = Line(Receiver(f"https://localhost:{server.port}", ca_file=server.ca_file), "token", patience=0)
        with pytest.raises(HoldfastError):
            line.request("GET", "/machine")
        assert server.all_closed()
        line.close()
