"""Logging in, staying logged in, and what becomes of calls when neither holds."""

from __future__ import annotations

import gc
import hashlib
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from http.client import HTTPException, RemoteDisconnected
from pathlib import Path

import pytest
from pyVmomi import vim

from adapters.errors import AdapterError, SourceDenied, SourceInvalid, SourceUnavailable
from adapters.secret import Secret
from adapters.vmware.faults import connection_error
from adapters.vmware.session import Session, Timing, UnansweredCall, newest_known
from tests.adapters.vmware.conftest import MakeSession, lose_patience
from tests.support.certificates import Authority
from tests.support.eventually import eventually
from tests.support.soap_proxy import SoapProxy, soap_proxy
from tests.support.vcsim_process import PASSWORD, Vcsim

SOON = Timing(call_seconds=0.4)


def kill(session: Session) -> None:
    """End the session at the server, as an administrator can."""
    manager = session.content.sessionManager
    assert manager is not None
    manager.Logout()


def test_a_pinned_certificate_is_enough(vcsim: Vcsim, session_of: MakeSession) -> None:
    """A self-signed server is trusted by its SHA-256; transports get the SHA-1 and the session's cookie."""
    session = session_of(vcsim)
    assert session.content.about.productLineId == "vpx"
    der = ssl.PEM_cert_to_DER_cert(vcsim.certificate.read_text())
    assert session.thumbprint_sha1.replace(":", "") == hashlib.sha1(der, usedforsecurity=False).hexdigest().upper()
    assert session.thumbprint_sha1.count(":") == 19
    assert session.cookie()


def test_an_authority_is_enough(vcsim: Vcsim, session_of: MakeSession) -> None:
    """A CA file trusts the certificates it signed, for their names."""
    assert session_of(vcsim, ca_file=vcsim.ca_file).content.about.productLineId == "vpx"


def test_a_name_that_the_certificate_lacks_is_refused(vcsim: Vcsim, session_of: MakeSession) -> None:
    """With a CA file, the host must be named in the certificate."""
    with pytest.raises(SourceDenied) as caught:
        _ = session_of(vcsim, ca_file=vcsim.ca_file, host="127.0.0.1").content
    assert caught.value.code == "certificate-untrusted"


def test_nobody_is_trusted_unasked(vcsim: Vcsim, session_of: MakeSession, tmp_path: Path) -> None:
    """Without a setting the system's authorities decide, on localhost too; another CA's certificate is refused."""
    stranger = Authority(tmp_path / "stranger")
    for trust in ({"fingerprint": None}, {"ca_file": stranger.ca_file}):
        with pytest.raises(SourceDenied) as caught:
            _ = session_of(vcsim, **trust).content
        assert caught.value.code == "certificate-untrusted"


def test_insecure_must_be_asked_for(vcsim: Vcsim, session_of: MakeSession) -> None:
    """The explicit opt-out connects to anybody."""
    assert session_of(vcsim, insecure=True).content.about.productLineId == "vpx"


def test_no_password_goes_to_a_stranger(vcsim: Vcsim, proxy: SoapProxy, behind: Vcsim) -> None:
    """Another certificate than the pinned one is refused before anything is sent."""
    asked: list[str] = []

    def password() -> str:
        asked.append("yes")
        return PASSWORD

    settings = replace(behind.settings(fingerprint="AB" * 32), password=Secret(password))
    with closing(Session(settings)) as session, pytest.raises(SourceDenied) as caught:
        _ = session.content
    assert caught.value.code == "certificate-changed"
    assert vcsim.fingerprint in str(caught.value)
    assert not asked
    assert not proxy.rules.seen


def test_every_connection_is_looked_at(vcsim: Vcsim, tmp_path: Path) -> None:
    """A certificate that changes after the login is refused at the next connection, by reads and by effects."""
    other = Authority(tmp_path / "other").issue("server", ["localhost"])
    with soap_proxy(vcsim.port, vcsim.certificate) as before:
        session = Session(replace(vcsim, port=before.port).settings())
        _ = session.content
    with closing(session), soap_proxy(vcsim.port, other) as after:
        stub = session._stub
        stub.DropConnections()
        stub.port = after.port
        for _ in range(2):
            with pytest.raises(SourceDenied) as caught:
                session.touch()
            assert caught.value.code == "certificate-changed"
        assert not after.rules.seen


def test_a_wrong_password_is_denied_and_not_shown(vcsim: Vcsim) -> None:
    """The error names the user and neither password."""
    settings = replace(vcsim.settings(), password=Secret(lambda: "wrong-fish"))
    with closing(Session(settings)) as session, pytest.raises(SourceDenied) as caught:
        _ = session.content
    assert caught.value.code == "login-refused"
    assert "password" in caught.value.hint
    assert "user" in str(caught.value)
    error: BaseException | None = caught.value
    while error is not None:
        assert "fish" not in repr(error) + str(error) + str(vars(error))
        error = error.__cause__ or error.__context__


def test_a_killed_session_is_renewed_for_reads(vcsim: Vcsim, session_of: MakeSession) -> None:
    """After NotAuthenticated there is a new login and the read is repeated; the cookie is the new one."""
    session = session_of(vcsim)
    before = session.cookie()
    kill(session)
    session.touch()
    assert session.cookie() not in ("", before)


def test_many_threads_renew_once(behind: Vcsim, proxy: SoapProxy, session_of: MakeSession) -> None:
    """Threads that find the session dead at the same moment log in once."""
    session = session_of(behind)
    _ = session.content
    proxy.rules.faults["CurrentTime"] = ["NotAuthenticated"] * 4
    gate = threading.Barrier(4)

    def touch() -> None:
        gate.wait()
        session.touch()

    threads = [threading.Thread(target=touch) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 2 <= proxy.rules.seen.count("Login") <= 5
    assert proxy.rules.seen.count("CurrentTime") >= 4


def test_a_session_that_dies_again_is_denied(behind: Vcsim, proxy: SoapProxy, session_of: MakeSession) -> None:
    """A read is repeated once, not for ever."""
    session = session_of(behind)
    _ = session.content
    proxy.rules.faults["CurrentTime"] = ["NotAuthenticated"] * 5
    with pytest.raises(SourceDenied) as caught:
        session.touch()
    assert caught.value.code == "session-lost"
    assert proxy.rules.seen.count("CurrentTime") == 2


def test_a_lost_reply_to_a_read_is_asked_for_again(behind: Vcsim, proxy: SoapProxy, session_of: MakeSession) -> None:
    """A connection that closes is replaced once."""
    session = session_of(behind)
    _ = session.content
    proxy.rules.lost["CurrentTime"] = 1
    session.touch()
    proxy.rules.lost["CurrentTime"] = 2
    with pytest.raises(SourceUnavailable):
        session.touch()


def test_an_effect_is_never_repeated(behind: Vcsim, proxy: SoapProxy, session_of: MakeSession) -> None:
    """Neither a lost reply nor a dead session makes us send a call with an effect again."""
    session = session_of(behind)
    folder = session.bound(vim.Folder, session.content.rootFolder._moId)
    proxy.rules.lost["CreateFolder"] = 1
    with pytest.raises(UnansweredCall) as unanswered:
        session.effect("The folder was not made", lambda: folder.CreateFolder("lost"))
    assert isinstance(unanswered.value.error, SourceUnavailable)
    proxy.rules.faults["CreateFolder"] = ["NotAuthenticated"]
    with pytest.raises(SourceDenied):
        session.effect("The folder was not made", lambda: folder.CreateFolder("refused"))
    assert proxy.rules.seen.count("CreateFolder") == 2


def test_an_effect_finds_a_live_session(vcsim: Vcsim, session_of: MakeSession) -> None:
    """A session that was killed before is renewed first, so that the effect itself need not be repeated."""
    session = session_of(vcsim)
    folder = session.bound(vim.Folder, session.content.rootFolder._moId)
    kill(session)
    assert session.effect("The folder was not made", lambda: folder.CreateFolder("alive"))


def test_a_silent_server_ends_the_wait(behind: Vcsim, proxy: SoapProxy, session_of: MakeSession) -> None:
    """A server that accepts and says nothing is unavailable, in the middle of a session and before it."""
    session = session_of(behind)
    lose_patience(session)
    proxy.rules.silent.add("CurrentTime")
    with pytest.raises(SourceUnavailable) as caught:
        session.touch()
    assert caught.value.code == "server-silent"
    with socket.create_server(("127.0.0.1", 0)) as mute:
        silent = session_of(replace(behind, host="127.0.0.1", port=mute.getsockname()[1]), SOON)
        with pytest.raises(SourceUnavailable) as caught:
            _ = silent.content
    assert caught.value.code == "server-silent"


@pytest.fixture
def free_port() -> Iterator[int]:
    """A port where nobody listens."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


def test_no_server_is_unavailable(vcsim: Vcsim, free_port: int, session_of: MakeSession) -> None:
    """A refused connection says where."""
    with pytest.raises(SourceUnavailable) as caught:
        _ = session_of(replace(vcsim, port=free_port)).content
    assert caught.value.code == "server-unreachable"
    assert str(free_port) in str(caught.value)


@pytest.mark.parametrize("garbage", [b"", b"<html>no</html>", b"<a", b"\x00\xff" * 99])
def test_garbage_is_no_crash(behind: Vcsim, proxy: SoapProxy, session_of: MakeSession, garbage: bytes) -> None:
    """An answer that is not vSphere's is an AdapterError."""
    proxy.rules.rewrite["RetrieveServiceContent"] = lambda _: garbage
    with pytest.raises((SourceUnavailable, SourceInvalid)) as caught:
        _ = session_of(behind).content
    assert caught.value.code in ("not-vsphere", "answer-unreadable")


def test_an_old_server_is_refused(behind: Vcsim, proxy: SoapProxy, session_of: MakeSession) -> None:
    """A vSphere older than the API we speak is refused before the login."""
    proxy.rules.rewrite["RetrieveServiceContent"] = lambda answer: answer.replace(
        b"<apiVersion>6.5</apiVersion>", b"<apiVersion>6.0</apiVersion>"
    )
    with pytest.raises(SourceInvalid) as caught:
        _ = session_of(behind).content
    assert caught.value.code == "vsphere-too-old"
    assert "Login" not in proxy.rules.seen


def test_a_session_is_kept_alive(behind: Vcsim, proxy: SoapProxy, session_of: MakeSession) -> None:
    """The session is used now and then while nobody uses it, and no more once it is closed."""
    session = session_of(behind, Timing(keep_alive_seconds=0.01))
    _ = session.content
    eventually(lambda: proxy.rules.seen.count("CurrentTime") >= 3, "three calls")
    session.close()
    session.close()
    with pytest.raises(AdapterError) as caught:
        session.touch()
    assert caught.value.code == "session-closed"


def test_a_refusal_that_nobody_reads_keeps_no_connection(
    behind: Vcsim, proxy: SoapProxy, session_of: MakeSession
) -> None:
    """An answer that is not SOAP, ended by hanging up, leaves no open socket to the garbage collector."""
    session = session_of(behind)
    _ = session.content
    proxy.rules.refuse["CurrentTime"] = 503
    with pytest.raises(SourceUnavailable) as caught:
        session.touch()
    assert caught.value.code == "server-refused"
    sockets = [found for found in gc.get_objects() if isinstance(found, ssl.SSLSocket) and not found.server_side]
    assert not [found for found in sockets if found.fileno() != -1 and found.getpeername()[1] == proxy.port]


def test_a_call_under_way_at_the_close_leaves_no_connection(
    behind: Vcsim, proxy: SoapProxy, session_of: MakeSession
) -> None:
    """A connection that is in use while the session is closed is closed with its answer, not kept for the next call."""
    session = session_of(behind)
    _ = session.content
    stub = session._stub
    heard, answered = threading.Event(), threading.Event()

    def slowly(answer: bytes) -> bytes:
        heard.set()
        answered.wait(240)
        return answer

    proxy.rules.rewrite["CurrentTime"] = slowly
    thread = threading.Thread(target=session.touch)
    thread.start()
    assert heard.wait(240)
    session.close()
    answered.set()
    thread.join()
    assert stub is not None
    assert stub.pool == []


@pytest.mark.parametrize(
    ("server", "spoken"),
    [
        ("6.5", "vim25/6.5"),
        ("6.5.0", "vim25/6.5"),
        ("7.0.3.0", "vim25/7.0.3.0"),
        ("8.0.2.99", "vim25/8.0.2.0"),
        ("99.0", "vim25/9.1.1.0"),
    ],
)
def test_the_newest_common_version_is_spoken(server: str, spoken: str) -> None:
    """Never a version that the server does not know."""
    assert newest_known(server) == spoken


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (HTTPException("503 Service Unavailable"), "server-refused"),
        (RemoteDisconnected("closed"), "not-vsphere"),
        (TimeoutError(), "server-silent"),
        (ConnectionRefusedError("refused"), "server-unreachable"),
        (ssl.SSLError(1, "wrong version"), "tls-failed"),
    ],
)
def test_what_is_not_an_answer_has_a_code(error: Exception, code: str) -> None:
    """Each way in which an answer can fail to come is told apart, and names the server."""
    translated = connection_error(error, "vc.example:443")
    assert translated.code == code
    assert "vc.example:443" in str(translated)
