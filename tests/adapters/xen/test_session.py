"""Sessions at a simulated pool: renewed, moved to another master, trusted for a reason; and nothing secret is shown."""

from __future__ import annotations

import gc
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from xmlrpc.client import Fault, dumps

import pytest

from adapters.errors import AdapterError, SourceConflict, SourceDenied, SourceInvalid, SourceLimit, SourceUnavailable
from adapters.secret import Secret
from adapters.xen import lines
from adapters.xen.session import Session, Timing
from tests.adapters.xen.conftest import PATIENT, MakeSession, StartPool
from tests.support.certificates import Authority, fingerprint, self_signed
from tests.support.listening_tls import ListeningTls
from tests.support.xapi import XapiSimulator
from tests.support.xapi.faults import Action, Fail, Garbage, LoseReply, Meanwhile

HURRIED = Timing(call_seconds=0.5, event_seconds=0.2, search_seconds=0.5, search_pause_seconds=0.05)


def shown(error: BaseException | None) -> str:
    """Everything that a person or a log could see of an error and of what it chains."""
    texts = []
    while error is not None:
        texts += [str(error), repr(error), *map(str, error.args), str(vars(error)), *getattr(error, "__notes__", [])]
        error = error.__cause__ or error.__context__
    return "\n".join(texts)


def test_a_record_arrives_with_its_types(pool: XapiSimulator, session_of: MakeSession) -> None:
    """Pitfall 31: sizes that travel as strings arrive as integers, and what we send is understood."""
    session, vdi = session_of(pool), pool.vdi("web")
    assert session.call("VDI.get_record", vdi)["virtual_size"] == 4 << 20
    assert session.call("VDI.get_virtual_size", vdi) == 4 << 20
    assert session.call("SM.get_all_records").popitem()[1]["features"]["VDI_CONFIG_CBT"] == 1
    session.call("VDI.resize_online", vdi, 6 << 20)
    assert pool.record("VDI", vdi)["virtual_size"] == 6 << 20
    assert session.epoch == 1
    assert session.master == pool.host


# --- expiry, masters ---


def test_a_session_that_expired_is_renewed_once_and_told(pool: XapiSimulator, session_of: MakeSession) -> None:
    """Pitfall 30: after an expiry reads go on in a new session, whose number and id tell it from the old one."""
    session = session_of(pool)
    old = session.session_id().reveal()
    pool.expire_sessions()
    assert session.call("VDI.get_virtual_size", pool.vdi("web")) == 4 << 20
    assert session.epoch == 2
    assert session.session_id().reveal() != old
    assert pool.calls["session.login_with_password"] == 2
    pool.expire_sessions()
    session.call("VDI.enable_cbt", pool.vdi("web"))
    assert (pool.calls["VDI.enable_cbt"], session.epoch) == (1, 3)


def test_a_host_that_ends_every_session_is_given_up(pool: XapiSimulator, session_of: MakeSession) -> None:
    """Sessions that end as soon as they begin are an error, not a loop."""
    session = session_of(pool)
    pool.faults.on("VM.get_all", Fail("SESSION_INVALID", ("OpaqueRef:x",)), times=1000)
    with pytest.raises(SourceUnavailable) as caught:
        session.call("VM.get_all")
    assert caught.value.code == "session-invalid"
    assert pool.calls["session.login_with_password"] < 10


def test_threads_renew_a_session_once(pool: XapiSimulator, session_of: MakeSession) -> None:
    """Many threads share a login, each call on a connection of its own; an expiry under them makes one new login."""
    session, vdi = session_of(pool), pool.vdi("web")
    with ThreadPoolExecutor(6) as threads:
        assert set(threads.map(lambda _: session.call("VDI.get_virtual_size", vdi), range(60))) == {4 << 20}
        pool.expire_sessions()
        assert set(threads.map(lambda _: session.call("VDI.get_virtual_size", vdi), range(60))) == {4 << 20}
    assert pool.calls["session.login_with_password"] == 2
    assert pool.connections[0] < 20


def test_a_member_sends_us_to_its_master(start_pool: StartPool, session_of: MakeSession) -> None:
    """Pitfall 28: the address of any member will do; its master's certificate is verified as its own is."""
    pool = start_pool(hosts=3)
    session = session_of(pool, host="127.0.0.3")
    assert session.call("VDI.get_virtual_size", pool.vdi("web")) == 4 << 20
    assert session.master == "127.0.0.1"


def test_a_host_that_restarts_is_waited_for(pool: XapiSimulator, session_of: MakeSession) -> None:
    """A read goes on once the toolstack of the master is there again; an effect is refused, which is no lost reply."""
    session = session_of(pool)
    session.call("pool.get_all")
    pool.faults.on("VM.get_all", Fail("HOST_UNKNOWN_TO_MASTER"))
    pool.faults.on("session.login_with_password", Fail("HOST_IN_EMERGENCY_MODE"), times=3)
    pool.faults.on("VM.snapshot", Fail("HOST_STILL_BOOTING"))
    assert session.call("VM.get_all")
    with pytest.raises(SourceUnavailable) as caught:
        session.call("VM.snapshot", pool.vm("web"), "ours", [])
    assert caught.value.code == "host-still-booting"


@pytest.mark.parametrize("old_master_dies", [False, True])
def test_a_master_that_changes_is_found_again(
    start_pool: StartPool, session_of: MakeSession, old_master_dies: bool
) -> None:
    """Pitfall 28: in the middle of a job another host becomes the master, with the old one alive or dead."""
    pool = start_pool(hosts=3)
    session = session_of(pool)
    session.call("VDI.enable_cbt", pool.vdi("web"))
    pool.change_master(2)
    if old_master_dies:
        pool.stop_host(0)
    assert session.call("VDI.get_cbt_enabled", pool.vdi("web")) is True
    assert (session.master, session.epoch) == ("127.0.0.3", 2)
    session.call("VM.snapshot", pool.vm("web"), "ours", [])
    assert pool.snapshots("web") == ["ours"]


def test_a_master_that_is_gone_before_we_come_is_found_by_its_members(
    start_pool: StartPool, session_of: MakeSession
) -> None:
    """Pitfall 28: the host of the settings may be off when a job starts; its members are asked then."""
    pool = start_pool(hosts=3)
    pool.change_master(1)
    pool.stop_host(0)
    with pytest.raises(SourceUnavailable) as caught:
        session_of(pool).call("VM.get_all")
    assert caught.value.code == "server-unreachable"
    assert session_of(pool, members=("127.0.0.3",)).master == "127.0.0.2"


def test_a_pool_without_a_master_is_waited_for(start_pool: StartPool, session_of: MakeSession) -> None:
    """Pitfall 28: until the members have agreed on a master they are asked again; what fails meanwhile is not final."""
    pool = start_pool(hosts=2)
    session = session_of(pool)
    session.call("pool.get_all")
    pool.expire_sessions()
    pool.faults.on("session.login_with_password", Fail("HOST_STILL_BOOTING"), times=5)
    assert session.call("VDI.get_virtual_size", pool.vdi("web")) == 4 << 20


def test_a_master_that_never_comes_back_is_an_error(start_pool: StartPool, session_of: MakeSession) -> None:
    """The search for a master ends: at once for one that never answered, after a while for one that did."""
    pool = start_pool(hosts=2)
    session = session_of(pool, Timing(search_seconds=0.2, search_pause_seconds=0.05))
    session.call("pool.get_all")
    pool.expire_sessions()
    pool.faults.on("session.login_with_password", Fail("HOST_IS_SLAVE", ("127.0.0.1",)), times=1000)
    for fresh in (session, session_of(pool)):
        with pytest.raises(SourceUnavailable) as caught:
            fresh.call("VM.get_all")
        assert caught.value.code == "no-master"


def test_an_address_that_is_none_is_not_followed(pool: XapiSimulator, session_of: MakeSession) -> None:
    """A member's word is an address or nothing."""
    pool.faults.on("session.login_with_password", Fail("HOST_IS_SLAVE", ("evil.test/?x=",)))
    with pytest.raises(SourceUnavailable) as caught:
        session_of(pool).call("VM.get_all")
    assert caught.value.code == "host-is-slave"


# --- trust ---


def test_no_password_goes_to_an_untrusted_host(tmp_path: Path, session_of: MakeSession, pool: XapiSimulator) -> None:
    """A host that another authority vouches for, or one with an expired or a foreign name, is told nothing."""
    authority = Authority(tmp_path / "ca")
    for number, (ca, names, expired) in enumerate(
        [
            (pool.ca_file, ["127.0.0.1"], False),
            (authority.ca_file, ["else.test"], False),
            (authority.ca_file, ["127.0.0.1"], True),
        ]
    ):
        certificate = authority.issue(f"server{number}", names, expired=expired)
        with ListeningTls(certificate, certificate.with_name(f"server{number}-key.pem")) as listening:
            with pytest.raises(SourceDenied) as caught:
                session_of(pool, port=listening.port, ca_file=ca).call("VM.get_all")
            assert caught.value.code == "certificate-untrusted"
        assert listening.heard == b""


def test_a_master_is_verified_before_it_is_told_the_password(start_pool: StartPool, session_of: MakeSession) -> None:
    """Pitfall 28: a member cannot send us to a host whose certificate is not for its address: nothing is sent there."""
    pool = start_pool(hosts=2)
    pool.change_certificate(0, ["else.test"])
    with pytest.raises(SourceDenied) as caught:
        session_of(pool, host="127.0.0.2").call("VM.get_all")
    assert caught.value.code == "certificate-untrusted"
    assert pool.calls["session.login_with_password"] == 0


def test_pinned_fingerprints_name_the_hosts(start_pool: StartPool, session_of: MakeSession) -> None:
    """Pinned certificates need no authority, but every host of the pool must be pinned, and none may change."""
    pool = start_pool(hosts=2)
    pins = [fingerprint(certificate) for certificate in pool.certificates]
    both = session_of(pool, host="127.0.0.2", fingerprint=",".join(pins))
    assert both.master == "127.0.0.1"
    with pytest.raises(SourceDenied) as caught:
        session_of(pool, host="127.0.0.2", fingerprint=pins[1]).call("VM.get_all")
    assert caught.value.code == "certificate-changed"
    pool.change_certificate(0, ["127.0.0.1"])
    pool.cut_connections()
    with pytest.raises(SourceDenied):
        both.call("VM.get_all")


def test_trust_may_be_renounced_by_name_only(
    tmp_path: Path, pool: XapiSimulator, session_of: MakeSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a CA the system's authorities decide; `insecure` alone trusts anybody. No proxy is ever asked."""
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    with pytest.raises(SourceDenied):
        session_of(pool, ca_file=None).call("VM.get_all")
    assert session_of(pool, insecure=True).call("VM.get_all")
    with pytest.raises(SourceInvalid) as caught:
        session_of(pool, ca_file=tmp_path / "none.pem")
    assert caught.value.code == "ca-file"
    certificate, key = self_signed(tmp_path / "own", "127.0.0.1")
    with ListeningTls(certificate, key) as listening, pytest.raises(SourceUnavailable):
        session_of(pool, port=listening.port, fingerprint=fingerprint(certificate)).call("VM.get_all")
    assert listening.heard.startswith(b"POST ")


# --- what hosts say ---


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "answer-unreadable"),
        (b"<methodResponse>", "answer-unreadable"),
        (b"<?xml version='1.0'?><methodResponse><params></params></methodResponse>", "answer-unreadable"),
        (
            b"<methodResponse><params><param><value><string>x</string></value></param></params></methodResponse>",
            "answer-unreadable",
        ),
        (
            b"<methodResponse><params><param><value><int>x</int></value></param></params></methodResponse>",
            "answer-unreadable",
        ),
        (
            b"<methodResponse><params><param><value><struct/></value></param></params></methodResponse>",
            "answer-unreadable",
        ),
        (b"<methodResponse><fault><value><string>x</string></value></fault></methodResponse>", "answer-unreadable"),
        (
            b"<?xml version='1.0'?><!DOCTYPE m [<!ENTITY a '"
            + b"x" * 4096
            + b"'>"
            + b"".join(b"<!ENTITY %c '%s'>" % (ord("b") + n, b"&%c;" % (ord("a") + n) * 64) for n in range(6))
            + b"]><methodResponse><params><param><value>&g;</value></param></params></methodResponse>",
            "answer-unreadable",
        ),
    ],
)
def test_malformed_answers_are_errors(pool: XapiSimulator, session_of: MakeSession, body: bytes, code: str) -> None:
    """Whatever is no answer of XenAPI is an error of ours, entities that unfold into gigabytes included."""
    session = session_of(pool)
    pool.faults.on("VM.get_all", Garbage(body))
    with pytest.raises(SourceInvalid) as caught:
        session.call("VM.get_all")
    assert caught.value.code == code
    assert session.call("VM.get_all")


def test_a_host_that_answers_no_calls_is_named(pool: XapiSimulator, session_of: MakeSession) -> None:
    """What only speaks HTTP, such as a proxy or a web server, is told from a pool."""
    pool.faults.on("session.login_with_password", Garbage(b"", 403))
    with pytest.raises(SourceUnavailable) as caught:
        session_of(pool).call("VM.get_all")
    assert (caught.value.code, caught.value.why) == ("server-refused", "HTTP status 403")


def test_answers_have_a_largest_size(
    pool: XapiSimulator, session_of: MakeSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host cannot fill our memory: its answer is read up to a size and no further."""
    monkeypatch.setattr(lines, "MOST_REPLY_BYTES", 1 << 20)
    session = Session(pool.settings(), PATIENT)
    try:
        pool.faults.on("VM.get_all", Garbage(b"<methodResponse>" + b" " * (4 << 20)))
        with pytest.raises(SourceLimit) as caught:
            session.call("VM.get_all")
    finally:
        session.close()
    assert caught.value.code == "answer-too-long"


def test_a_login_that_is_refused_is_not_tried_elsewhere(start_pool: StartPool, session_of: MakeSession) -> None:
    """A wrong password is said to be one after one try: more of them would lock the user out."""
    pool = start_pool(hosts=2)
    session = session_of(pool, password=Secret(lambda: "wrong"), members=("127.0.0.2",))
    with pytest.raises(SourceDenied) as caught:
        session.call("VM.get_all")
    assert pool.connections == [1, 0]
    assert caught.value.code == "session-authentication-failed"
    assert "Check the user" in caught.value.hint


def test_failures_keep_their_names(pool: XapiSimulator, session_of: MakeSession) -> None:
    """A failure of a call arrives under its own name, and an effect that failed so is known to have had none."""
    session = session_of(pool)
    with pytest.raises(SourceConflict) as caught:
        session.call("VDI.data_destroy", pool.vdi("web"))
    assert caught.value.code == "operation-not-allowed"
    with pytest.raises(SourceInvalid) as unknown:
        session.call("VM.fly", pool.vm("web"))
    assert unknown.value.code == "message-method-unknown"


# --- secrets, ends ---


def test_no_secret_is_ever_shown(
    pool: XapiSimulator, session_of: MakeSession, caplog: pytest.LogCaptureFixture
) -> None:
    """Pitfall 46: no error, nothing it chains, no representation and no log holds a session's id or the password."""
    caplog.set_level("DEBUG")
    session = session_of(pool)
    first = session.session_id().reveal()
    pool.expire_sessions()
    session.call("pool.get_all")
    secrets = [first, session.session_id().reveal(), pool.password]
    said = ("VM", *secrets[:2], f"/x?session_id={secrets[0]}&y=1")
    failures: list[AdapterError] = []
    leaky = dumps(Fault(1, " ".join(secrets[:2])), methodresponse=True)
    actions: list[tuple[str, Action]] = [
        ("VM.get_all", Fail("INTERNAL_ERROR", said)),
        ("VM.get_all", Garbage(leaky.encode())),
        ("VM.get_all", Garbage(leaky.encode(), 500)),
        ("VM.snapshot", Fail("SESSION_INVALID", said)),
        ("VM.snapshot", LoseReply()),
        ("VM.snapshot", Fail("INTERNAL_ERROR", said)),
    ]
    for method, action in actions:
        pool.faults.on(method, action)
        with pytest.raises(AdapterError) as caught:
            session.call(method, *((pool.vm("web"), "ours", []) if method == "VM.snapshot" else ()))
        failures.append(caught.value)
    pool.expire_sessions()
    pool.faults.on("session.login_with_password", Fail("INTERNAL_ERROR", (pool.password,)))
    with pytest.raises(AdapterError) as caught:
        session_of(pool).call("VM.get_all")
    texts = [shown(error) for error in [*failures, caught.value]]
    texts += [repr(session), repr(session.session_id()), str(vars(session)), caplog.text]
    assert not [secret for secret in secrets for text in texts if secret in text]
    assert "***" in texts[0]


def test_closing_logs_out_and_hangs_up(pool: XapiSimulator) -> None:
    """A closed session is gone at the pool, says so, and may be closed again; one never used logs in nowhere."""
    session = Session(pool.settings(), PATIENT)
    session.close()
    assert pool.calls["session.login_with_password"] == 0
    session = Session(pool.settings(), PATIENT)
    session.call("VM.get_all")
    assert len(pool.records.find("session")) == 1
    session.close()
    session.close()
    assert pool.records.find("session") == []
    with pytest.raises(SourceInvalid) as caught:
        session.call("VM.get_all")
    assert caught.value.code == "session-closed"


def test_closing_does_not_mind_a_pool_that_is_gone(pool: XapiSimulator) -> None:
    """Nothing is left open when the logout fails, or when the session is closed during a call."""
    session = Session(pool.settings(), PATIENT)
    session.call("VM.get_all")
    pool.cut_connections()
    pool.faults.on("session.logout", LoseReply(before=True))
    session.close()
    session = Session(pool.settings(), PATIENT)
    session.call("VM.get_all")
    reached, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        reached.set()
        go_on.wait(60)

    pool.faults.on("VM.get_all", Meanwhile(hold))
    answers: list[Any] = []
    caller = threading.Thread(target=lambda: answers.append(session.call("VM.get_all")))
    caller.start()
    reached.wait(60)
    session.close()
    go_on.set()
    caller.join(60)
    assert not caller.is_alive()
    gc.collect()
