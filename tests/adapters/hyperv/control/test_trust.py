"""Who is spoken to: the certificate decides on every connection, the environment never, and secrets go nowhere else."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest
from winrm import transport

from adapters.errors import AdapterError, SourceDenied, SourceInvalid
from adapters.hyperv.control.connection import endpoint
from adapters.hyperv.control.winrm import WinrmRunner
from adapters.hyperv.settings import HypervSettings
from adapters.secret import Secret
from tests.adapters.hyperv.control.conftest import MakeRunner, StartHost, settings_of
from tests.support.certificates import Authority, self_signed
from tests.support.listening_tls import ListeningTls
from tests.support.winrm.faults import Status


def refusal(runner: WinrmRunner) -> AdapterError:
    """What a script ends with."""
    with pytest.raises(AdapterError) as caught:
        runner.run("machines", {})
    return caught.value


def test_a_pinned_host_is_trusted_by_its_certificate_alone(start_host: StartHost, runner_of: MakeRunner) -> None:
    """The right SHA-256 is enough, whatever the name in the certificate and its age; another one is refused."""
    host = start_host(names=("elsewhere.example",), expired=True)
    assert runner_of(host, fingerprint=host.fingerprint).run("machines", {})["host"] == "hv1"
    before = host.requests
    error = refusal(runner_of(host, fingerprint="AB" * 32))
    assert (type(error), error.code) == (SourceDenied, "certificate-changed")
    assert host.requests == before


def test_the_pin_holds_on_every_connection(start_host: StartHost, runner_of: MakeRunner) -> None:
    """A certificate that changes between two connections is refused before anything is sent over the second."""
    host = start_host()
    runner = runner_of(host, fingerprint=host.fingerprint)
    runner.run("machines", {})
    pinned, before = host.fingerprint, host.requests
    host.show_certificate()
    host.drop_connections()
    error = refusal(runner)
    assert error.code == "certificate-changed"
    assert host.requests == before
    assert host.fingerprint != pinned
    host.forget_shells()


def test_each_wrong_certificate_is_told_apart(start_host: StartHost, runner_of: MakeRunner, tmp_path: Path) -> None:
    """Expired, of another authority, for another name: refused, with what is wrong and the SHA-256 to compare."""
    other = Authority(tmp_path / "other", "Other CA")
    cases = [
        ({"expired": True}, {}, "expired"),
        ({}, {"ca_file": other.ca_file}, "issuer"),
        ({}, {"ca_file": None}, "issuer"),
        ({"names": ("elsewhere.example",)}, {}, "127.0.0.1"),
    ]
    for options, settings, word in cases:
        host = start_host(**options)
        error = refusal(runner_of(host, **settings))
        assert (type(error), error.code) == (SourceDenied, "certificate-untrusted")
        assert word in error.why
        assert host.fingerprint in error.why
        assert host.requests == 0


def test_insecure_takes_any_certificate(start_host: StartHost, runner_of: MakeRunner) -> None:
    """Asked for by name, nothing is checked."""
    host = start_host(names=("elsewhere.example",), expired=True)
    assert runner_of(host, insecure=True).run("machines", {})["host"] == "hv1"


def test_a_missing_ca_file_is_told_before_anything_connects(start_host: StartHost, runner_of: MakeRunner) -> None:
    """A CA file that cannot be read is an error of the settings."""
    with pytest.raises(SourceInvalid) as caught:
        runner_of(start_host(), ca_file=Path("/nowhere/ca.pem"))
    assert caught.value.code == "ca-file"


@pytest.mark.parametrize("tls", [False, True])
def test_the_environment_has_no_say(
    start_host: StartHost, runner_of: MakeRunner, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tls: bool
) -> None:
    """Proxies, CA bundles and netrc files of the environment change nothing."""
    host = start_host(tls=tls)
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login nobody password wrong\n")
    monkeypatch.setenv("NETRC", str(netrc))
    nowhere = Authority(tmp_path / "other").ca_file
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.setenv(name, str(nowhere))
    assert runner_of(host).run("machines", {})["host"] == "hv1"


def test_a_ca_bundle_of_the_environment_makes_nobody_trusted(
    start_host: StartHost, runner_of: MakeRunner, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What requests would trust because of its variables is refused."""
    host = start_host()
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(host.ca_file))
    monkeypatch.setenv("CURL_CA_BUNDLE", str(host.ca_file))
    assert refusal(runner_of(host, ca_file=Authority(tmp_path / "other").ca_file)).code == "certificate-untrusted"


@pytest.mark.parametrize("authentication", ["ntlm", "basic", "credssp"])
def test_a_wrong_password_is_refused_and_told_nowhere(
    start_host: StartHost, runner_of: MakeRunner, authentication: str
) -> None:
    """The error names the user; no secret is in it, in its causes or in what it prints as."""
    host = start_host()
    runner = runner_of(host, authentication=authentication, password=Secret(lambda: "hunter2-hunter2"))
    error = refusal(runner)
    assert (type(error), error.code) == (SourceDenied, "login-refused")
    assert host.user in str(error)
    printed = "".join(traceback.format_exception(error)) + repr(vars(error)) + repr(runner)
    for secret in ("hunter2-hunter2", "YmFja3VwOmh1bnRlcjI"):
        assert secret not in printed
    assert host.open_shells == 0


def test_a_refused_login_is_not_tried_over_and_over(start_host: StartHost, runner_of: MakeRunner) -> None:
    """A wrong password is shown once; twice where the old one was good, for it may have been changed. Accounts lock."""
    for tls in (True, False):
        host = start_host(tls=tls)
        runner = runner_of(host)
        host.faults.denied = True
        for used, attempts in ((False, 1), (True, 2)):
            if used:
                host.faults.denied = False
                runner.run("machines", {})
                host.faults.denied = True
                host.drop_connections()
            before = host.logins
            assert refusal(runner).code == "login-refused"
            assert host.logins - before == attempts
        host.forget_shells()


def test_a_wrong_password_over_plain_http(start_host: StartHost, runner_of: MakeRunner) -> None:
    """The message that was to be sealed is not sent in clear text instead, not even at a second try."""
    host = start_host(tls=False)
    runner = runner_of(host, password=Secret(lambda: "wrong"))
    assert [refusal(runner).code for _ in range(2)] == ["login-refused"] * 2
    assert host.clear_bodies == []


def test_a_host_that_offers_only_other_ways_in(start_host: StartHost, runner_of: MakeRunner) -> None:
    """NTLM is not replaced by what the host would rather have: the password does not go as Basic."""
    host = start_host()
    host.offer("Basic")
    assert refusal(runner_of(host)).code == "login-refused"


def test_an_answer_in_clear_text_is_not_believed(start_host: StartHost, runner_of: MakeRunner) -> None:
    """Over plain HTTP somebody in between could write answers; only sealed ones count."""
    host = start_host(tls=False)
    host.faults.plain_answers = True
    error = refusal(runner_of(host))
    assert (type(error), error.code) == (SourceDenied, "sealing-failed")
    host.forget_shells()


def test_a_redirect_leads_nowhere(start_host: StartHost, runner_of: MakeRunner, tmp_path: Path) -> None:
    """A host that sends us elsewhere is refused, and elsewhere hears nothing."""
    host = start_host()
    certificate, key = self_signed(tmp_path / "elsewhere", "localhost")
    with ListeningTls(certificate, key) as elsewhere:
        host.faults.add("Create", Status(307, location=f"https://127.0.0.1:{elsewhere.port}/wsman"))
        error = refusal(runner_of(host, insecure=True))
        assert (error.code, error.why) == ("not-winrm", "HTTP status 307")
        assert elsewhere.shaken == 0


def test_a_connection_that_ended_is_made_anew(start_host: StartHost, runner_of: MakeRunner) -> None:
    """Between two scripts the host may end an idle connection; over plain HTTP new keys are agreed on."""
    for tls in (False, True):
        host = start_host(tls=tls)
        runner = runner_of(host)
        for _ in range(3):
            assert runner.run("make-checkpoint", {})["host"] == "hv1"
            host.drop_connections()
        assert host.accepted >= 3
        assert [call.script for call in host.calls] == ["make-checkpoint"] * 3


@pytest.mark.parametrize("name", ["::1", "[::1]"])
def test_an_ipv6_host_is_reached(start_host: StartHost, runner_of: MakeRunner, name: str) -> None:
    """The full endpoint is given to the library, which makes something else of a bare address."""
    host = start_host(address="::1")
    assert runner_of(host, host=name).run("machines", {})["host"] == "hv1"


@pytest.mark.parametrize(
    ("name", "plain_http", "expected"),
    [
        ("hv1.corp", False, "https://hv1.corp:5986/wsman"),
        ("fe80::1", False, "https://[fe80::1]:5986/wsman"),
        ("[fe80::1%eth0]", False, "https://[fe80::1%25eth0]:5986/wsman"),
        ("hv1", True, "http://hv1:5986/wsman"),
    ],
)
def test_endpoints_are_written_out(name: str, plain_http: bool, expected: str) -> None:
    """Scheme, host, port and path, whatever the host is called."""
    settings = HypervSettings(name, "user", Secret(lambda: ""), plain_http=plain_http)
    assert endpoint(settings, name) == expected


@pytest.mark.parametrize(("authentication", "flag"), [("kerberos", "HAVE_KERBEROS"), ("credssp", "HAVE_CREDSSP")])
def test_a_missing_extra_is_named(
    start_host: StartHost, monkeypatch: pytest.MonkeyPatch, authentication: str, flag: str
) -> None:
    """Kerberos and CredSSP need packages of their own: without them the error says which, before anything connects."""
    monkeypatch.setattr(transport, flag, False)
    with pytest.raises(SourceInvalid) as caught:
        WinrmRunner(settings_of(start_host(), authentication=authentication))
    assert caught.value.code == "extra-missing"
    assert f"holdfast[hyperv-{authentication}]" in caught.value.hint
