"""NBD over TLS against nbdkit: the right server is read, every other is refused."""

from __future__ import annotations

import contextlib
import os
import random
import select
import socket
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import pytest

from adapters.errors import AdapterError, SourceDenied, SourceInvalid, SourceUnavailable
from adapters.nbd import NbdClient, TlsPolicy
from adapters.nbd.client import exports
from adapters.nbd.connection import deadline_in
from adapters.nbd.tls import TlsWire
from adapters.nbd.wire import receive
from tests.support import hostile_nbd as h
from tests.support.certificates import Authority, fingerprint
from tests.support.hostile_nbd import HostileNbd, Peer, read
from tests.support.nbd_peers import nbdkit

DATA = "0123456789abcdef"


@pytest.fixture
def authority(folder: Path) -> Authority:
    """An authority with a certificate for `disks.test`."""
    authority = Authority(folder / "pki")
    authority.issue("server", ["disks.test", "other.test"])
    return authority


@contextmanager
def tls_server(folder: Path, authority: Authority, *arguments: str) -> Iterator[str]:
    """Run nbdkit that speaks TLS only."""
    tls = ["--tls=require", f"--tls-certificates={authority.folder}"]
    with nbdkit(folder, *tls, *arguments, "data", f'"{DATA}"*65536', "size=1M") as address:
        yield address


def check(address: str, policy: TlsPolicy) -> None:
    """Read something over TLS."""
    client = NbdClient(address, tls=policy, timeout_seconds=60)
    assert read(client, 16, 32) == DATA.encode() * 2
    client.close()


def test_the_right_server_is_read(folder: Path, authority: Authority) -> None:
    """A CA with the expected name, its text instead of its file, and a pinned certificate each do."""
    pin = fingerprint(authority.folder / "server-cert.pem")
    with tls_server(folder, authority) as address:
        check(address, TlsPolicy(ca_file=authority.ca_file, hostname="disks.test"))
        check(address, TlsPolicy(ca_pem=authority.ca_file.read_text(), hostname="other.test"))
        check(address, TlsPolicy(certificate_sha256=pin))
        check(address, TlsPolicy(certificate_sha256=pin.replace(":", "").lower(), hostname="disks.test"))
        check(address, TlsPolicy(ca_file=authority.ca_file, certificate_sha256=pin, hostname="disks.test"))
        assert exports(address, tls=TlsPolicy(certificate_sha256=pin)) == [""]


def test_the_wrong_server_is_refused(folder: Path, authority: Authority) -> None:
    """Another CA, another name and another certificate raise SourceDenied, each with its code."""
    stranger = Authority(folder / "stranger")
    pin, other_pin = (fingerprint(path) for path in (authority.folder / "server-cert.pem", stranger.ca_file))
    wrong = {
        "nbd-tls-untrusted": [
            TlsPolicy(ca_file=stranger.ca_file, hostname="disks.test"),
            TlsPolicy(ca_file=authority.ca_file, hostname="evil.test"),
            TlsPolicy(ca_file=stranger.ca_file, certificate_sha256=pin, hostname="disks.test"),
        ],
        "nbd-tls-pin": [
            TlsPolicy(certificate_sha256=other_pin),
            TlsPolicy(ca_file=authority.ca_file, certificate_sha256=other_pin, hostname="disks.test"),
        ],
        "nbd-tls-name": [TlsPolicy(certificate_sha256=pin, hostname="evil.test")],
    }
    with tls_server(folder, authority) as address:
        for code, policies in wrong.items():
            for policy in policies:
                with pytest.raises(SourceDenied) as caught:
                    check(address, policy)
                assert caught.value.code == code


def test_an_expired_certificate_needs_a_pin(folder: Path, authority: Authority) -> None:
    """A CA does not make up for expiry; a pin names the very certificate, so its dates do not matter."""
    certificate = authority.issue("server", ["disks.test"], expired=True)
    with tls_server(folder, authority) as address:
        with pytest.raises(SourceDenied, match="expired"):
            check(address, TlsPolicy(ca_file=authority.ca_file, hostname="disks.test"))
        check(address, TlsPolicy(certificate_sha256=fingerprint(certificate)))


def test_a_name_in_the_subject_only(folder: Path, authority: Authority) -> None:
    """An old certificate without alternative names is checked by its common name."""
    pin = fingerprint(authority.issue("server", [], common_name="old.test"))
    with tls_server(folder, authority) as address:
        check(address, TlsPolicy(certificate_sha256=pin, hostname="old.test"))
        with pytest.raises(SourceDenied):
            check(address, TlsPolicy(certificate_sha256=pin, hostname="disks.test"))


def test_a_client_certificate_is_shown(folder: Path, authority: Authority) -> None:
    """A server that wants to know its clients is served with the policy's certificate, and refuses without."""
    certificate = authority.issue("client", ["client.test"])
    key = authority.folder / "client-key.pem"
    trust = TlsPolicy(ca_file=authority.ca_file, hostname="disks.test")
    known = TlsPolicy(ca_file=authority.ca_file, hostname="disks.test", client_certificate=certificate, client_key=key)
    with tls_server(folder, authority, "--tls-verify-peer") as address:
        check(address, known)
        with pytest.raises(AdapterError):
            check(address, trust)


def test_threads_read_over_tls(folder: Path, authority: Authority) -> None:
    """Concurrent long reads over one encrypted connection give the right bytes."""
    dice = random.Random(5)
    spans = [(dice.randrange(500_000), dice.choice([1, 20_000, 400_000])) for _ in range(60)]
    policy = TlsPolicy(ca_file=authority.ca_file, hostname="disks.test")
    with tls_server(folder, authority) as address:
        client = NbdClient(address, tls=policy)
        content = (DATA * 65536).encode()
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda span: read(client, *span), spans))
        client.close()
    assert all(
        answer == content[start : start + length] for answer, (start, length) in zip(answers, spans, strict=True)
    )


def test_a_shut_down_wire_gives_no_ciphertext(authority: Authority) -> None:
    """After a shutdown from another thread, what still waits in the socket is decrypted or lost, never raw."""
    ours, theirs = socket.socketpair()
    ours_again = os.dup(ours.fileno())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.folder / "server-cert.pem", authority.folder / "server-key.pem")

    def serve() -> None:
        with context.wrap_socket(theirs, server_side=True) as peer:
            peer.sendall(b"plain")
            peer.sendall(b" text")
            done.wait(30)

    done = Event()
    server = Thread(target=serve)
    server.start()
    policy = TlsPolicy(ca_file=authority.ca_file, hostname="disks.test")
    wire = TlsWire(ours, policy, deadline_in(30))
    assert receive(wire, 5, deadline_in(30)) == b"plain"
    poll = select.poll()
    poll.register(ours_again, select.POLLIN)
    assert poll.poll(30_000)  # the second record waits in the socket
    wire.shutdown()
    done.set()
    server.join()
    with contextlib.suppress(SourceUnavailable):
        assert receive(wire, 5, deadline_in(30)) == b" text"
    wire.close()
    os.close(ours_again)


def test_no_downgrade(folder: Path) -> None:
    """A server that declines STARTTLS gets nothing else from us: no export name, no option, no read."""
    options = []

    def hook(peer: Peer, option: int, _: bytes) -> bool:
        options.append(option)
        return False

    policy = TlsPolicy(certificate_sha256="00" * 32)
    with HostileNbd(on_option=hook).listening(folder) as address, pytest.raises(SourceDenied) as caught:
        NbdClient(address, "secret-name", tls=policy, timeout_seconds=60)
    assert caught.value.code == "nbd-tls-refused"
    assert options == [h.OPT_STARTTLS]


def test_plain_text_behind_the_acknowledgement(folder: Path) -> None:
    """Replies that somebody slips in before the TLS handshake are never taken for the server's."""

    def hook(peer: Peer, option: int, _: bytes) -> bool:
        peer.option_reply(option, h.ACK)
        peer.option_reply(h.OPT_STRUCTURED, h.ACK)
        peer.option_reply(h.OPT_GO, h.ACK)
        peer.until_closed()
        return True

    policy = TlsPolicy(certificate_sha256="00" * 32)
    with HostileNbd(on_option=hook).listening(folder) as address, pytest.raises(SourceDenied) as caught:
        NbdClient(address, tls=policy, timeout_seconds=60)
    assert caught.value.code == "nbd-tls-handshake"


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"hostname": "disks.test"},
        {"ca_pem": "x"},
        {"certificate_sha256": "ab"},
        {"certificate_sha256": "zz" * 32},
        {"certificate_sha256": ""},
    ],
)
def test_a_policy_that_trusts_nobody_or_anybody(settings: dict[str, str]) -> None:
    """Settings that would leave the server unverified are refused when they are made."""
    with pytest.raises(SourceInvalid):
        TlsPolicy(**settings)


def test_unusable_files_are_named_as_such(folder: Path) -> None:
    """A CA file that is missing or no certificate raises SourceInvalid before anything is sent."""
    (folder / "junk.pem").write_text("junk")
    with HostileNbd(on_option=lambda p, o, _: (p.option_reply(o, h.ACK), True)[1]).listening(folder) as address:
        for path in (folder / "none.pem", folder / "junk.pem"):
            with pytest.raises(SourceInvalid) as caught:
                NbdClient(address, tls=TlsPolicy(ca_file=path, hostname="x"), timeout_seconds=60)
            assert caught.value.code == "nbd-tls-files"
