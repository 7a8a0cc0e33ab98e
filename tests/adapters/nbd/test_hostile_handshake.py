"""The client against a server that lies while it negotiates: an AdapterError with its own code each time."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from adapters.errors import AdapterError, SourceConflict, SourceInvalid, SourceNotFound, SourceUnavailable
from adapters.nbd import NbdClient
from adapters.nbd.client import exports
from tests.support import hostile_nbd as h
from tests.support.hostile_nbd import HostileNbd, Peer, answering, read


def option_lie(option: int, *replies: tuple[int, bytes], length: int | None = None) -> h.OptionHook:
    """Answer one option with the given replies."""

    def hook(peer: Peer, asked: int, _: bytes) -> bool:
        if asked != option:
            return False
        for kind, body in replies:
            peer.option_reply(option, kind, body, length)
        return True

    return hook


INFO_EXPORT = struct.pack(">HQH", 0, 1 << 20, 1)
HANDSHAKE_LIES: dict[str, tuple[HostileNbd, str]] = {
    "not NBD": (HostileNbd(greeting=b"SSH-2.0-OpenSSH_9.2p1 Debian\r\n"), "nbd-not-nbd"),
    "oldstyle": (HostileNbd(greeting=struct.pack(">QQH", 0x4E42444D41474943, 0x420281861253, 0)), "nbd-oldstyle"),
    "newstyle that is not fixed": (
        HostileNbd(greeting=struct.pack(">QQH", 0x4E42444D41474943, 0x49484156454F5054, 0)),
        "nbd-oldstyle",
    ),
    "an endless option reply": (
        HostileNbd(on_option=option_lie(h.OPT_STRUCTURED, (h.ACK, b""), length=0xFFFFFFFF)),
        "nbd-option-length",
    ),
    "endless option replies": (
        HostileNbd(on_option=option_lie(h.OPT_GO, *[(h.INFO, struct.pack(">H", 99))] * 20000)),
        "nbd-option-replies",
    ),
    "an ACK with data": (HostileNbd(on_option=option_lie(h.OPT_STRUCTURED, (h.ACK, b"x"))), "nbd-protocol"),
    "no size": (HostileNbd(on_option=option_lie(h.OPT_GO, (h.ACK, b""))), "nbd-protocol"),
    "two sizes": (
        HostileNbd(on_option=option_lie(h.OPT_GO, (h.INFO, INFO_EXPORT), (h.INFO, INFO_EXPORT), (h.ACK, b""))),
        "nbd-protocol",
    ),
    "a size without room": (
        HostileNbd(on_option=option_lie(h.OPT_GO, (h.INFO, INFO_EXPORT[:-1]), (h.ACK, b""))),
        "nbd-protocol",
    ),
    "an impossible size": (HostileNbd(size_bytes=1 << 63), "nbd-protocol"),
    "no flags": (HostileNbd(flags=0), "nbd-protocol"),
    "a block size that is no power of two": (HostileNbd(block_sizes=(513, 4096, 1 << 20)), "nbd-protocol"),
    "a block size of zero": (HostileNbd(block_sizes=(0, 4096, 1 << 20)), "nbd-protocol"),
    "a huge block size": (HostileNbd(block_sizes=(1 << 17, 1 << 17, 1 << 20)), "nbd-protocol"),
    "no payload allowed": (HostileNbd(block_sizes=(1, 4096, 0)), "nbd-protocol"),
    "an end that cannot be read": (HostileNbd(size_bytes=5000, block_sizes=(4096, 4096, 1 << 20)), "nbd-protocol"),
    "a context that nobody asked": (
        HostileNbd(on_option=option_lie(h.OPT_SET_META, (h.META, b"\0\0\0\1x:y"), (h.ACK, b""))),
        "nbd-protocol",
    ),
    "a context twice": (
        HostileNbd(on_option=option_lie(h.OPT_SET_META, *[(h.META, b"\0\0\0\1base:allocation")] * 2, (h.ACK, b""))),
        "nbd-protocol",
    ),
    "a context without an id": (
        HostileNbd(on_option=option_lie(h.OPT_SET_META, (h.META, b"\0\0\0"), (h.ACK, b""))),
        "nbd-protocol",
    ),
    "another option's reply": (
        HostileNbd(on_option=lambda p, o, _: o == h.OPT_STRUCTURED and (p.option_reply(3, h.ACK), True)[1]),
        "nbd-protocol",
    ),
}


@pytest.mark.parametrize("lie", HANDSHAKE_LIES)
def test_a_lie_in_the_handshake_is_refused(folder: Path, lie: str) -> None:
    """A negotiation that breaks a rule or a limit raises, with its own code."""
    server, code = HANDSHAKE_LIES[lie]
    with server.listening(folder) as address:
        with pytest.raises(AdapterError) as caught:
            NbdClient(address, timeout_seconds=60)
        assert caught.value.code == code


def test_a_silent_server_is_bounded(folder: Path) -> None:
    """A server that accepts and says nothing raises nbd-stalled."""
    with HostileNbd(greeting=b"NBD").listening(folder) as address:
        with pytest.raises(SourceUnavailable) as caught:
            NbdClient(address, timeout_seconds=0.3)
        assert caught.value.code == "nbd-stalled"


def test_an_old_server_without_go_is_used(folder: Path) -> None:
    """EXPORT_NAME serves where GO is unknown, in blocks of 512 bytes, which nobody refuses."""
    asked = []

    def hook(peer: Peer, option: int, data: bytes) -> bool:
        if option == h.OPT_EXPORT_NAME:
            assert data == b"disk"
            peer.sock.sendall(struct.pack(">QH", 1 << 20, 1))
            return True
        peer.option_reply(option, h.UNSUP)
        return True

    def answer(peer: Peer, request: h.Request) -> None:
        asked.append((request.offset, request.length))
        peer.simple(request.handle, bytes(at % 251 for at in range(request.offset, request.offset + request.length)))

    with HostileNbd(answering(answer), on_option=hook).listening(folder) as address:
        client = NbdClient(address, "disk", timeout_seconds=60)
        assert read(client, 700, 10) == bytes(at % 251 for at in range(700, 710))
        assert asked == [(512, 512)]
        client.close()


def test_connections_must_agree(folder: Path) -> None:
    """An export that has another size on the second connection raises SourceConflict."""
    server = HostileNbd()

    def grow(_: Peer, option: int, __: bytes) -> bool:
        server.size_bytes += 512 if option == h.OPT_GO else 0
        return False

    server.on_option = grow
    with server.listening(folder) as address, pytest.raises(SourceConflict):
        NbdClient(address, connections=2, timeout_seconds=60)


def test_a_secret_in_the_export_name_is_not_shown(folder: Path) -> None:
    """What follows a question mark in an export name is in no error, even if the server repeats it."""

    def hook(peer: Peer, option: int, data: bytes) -> bool:
        if option != h.OPT_GO:
            return False
        peer.option_reply(option, (1 << 31) + 6, b"export " + data[4:-4] + b" is unknown: session_id=secret")
        return True

    with HostileNbd(on_option=hook).listening(folder) as address, pytest.raises(SourceNotFound) as caught:
        NbdClient(address, "/disk?session_id=secret", timeout_seconds=60)
    error = caught.value
    assert "/disk" in str(error)
    assert "secret" not in f"{error} {error.hint} {error!r} {error.args}"


def test_a_list_that_overruns_its_reply_is_refused(folder: Path) -> None:
    """An export name longer than its reply raises."""
    hook = option_lie(h.OPT_LIST, (h.SERVER, struct.pack(">I", 99) + b"x"), (h.ACK, b""))
    with HostileNbd(on_option=hook).listening(folder) as address, pytest.raises(SourceInvalid):
        exports(address, timeout_seconds=60)
