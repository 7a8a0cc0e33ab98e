"""Keys from providers that are slow, huge, wrong or elsewhere; and settings that make no sense."""

from __future__ import annotations

import gzip
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from catalog.access import jwks
from catalog.access.caller import Role
from catalog.access.jwks import FRESH_SECONDS, MAX_ANSWER_BYTES, MAX_KEYS, RETRY_SECONDS, Fetcher, ProviderKeys
from catalog.access.oidc_settings import OidcSettings
from storage.errors import Denied, Invalid, Unavailable
from tests.support.certificates import Authority
from tests.support.openid import serving
from tests.support.ticks import Ticks

KEY = {"kty": "RSA", "kid": "k", "n": "AQ", "e": "AQAB"}
ISSUER = "https://idp.test/realm"
SETTINGS = {"issuer": ISSUER, "audience": "holdfast"}


class Told:
    """A provider that says what tests tell it to; None is an outage."""

    def __init__(self) -> None:
        self.discovery: dict[str, Any] = {"issuer": ISSUER, "jwks_uri": "https://keys.test/jwks"}
        self.answer: dict[str, Any] | None = {"keys": [KEY]}
        self.urls: list[str] = []

    def __call__(self, url: str) -> dict[str, Any]:
        self.urls.append(url)
        if self.answer is None:
            raise Unavailable("it does not answer", code="oidc-keys")
        return self.discovery if url.endswith("openid-configuration") else self.answer


@pytest.fixture
def told() -> Told:
    """A provider with one key."""
    return Told()


@pytest.fixture
def ticks() -> Ticks:
    """A clock."""
    return Ticks()


@pytest.fixture
def keys(told: Told, ticks: Ticks) -> ProviderKeys:
    """The keys of that provider."""
    return ProviderKeys(ISSUER, told, ticks)


def test_discovery_is_below_the_issuer(keys: ProviderKeys, told: Told) -> None:
    """As the standard has it, also where the issuer has a path; the keys may be on another host."""
    assert keys.named("k") == (KEY,)
    assert told.urls == [f"{ISSUER}/.well-known/openid-configuration", "https://keys.test/jwks"]


@pytest.mark.parametrize(
    "url",
    [
        None,
        7,
        "",
        "http://keys.test/jwks",
        "file:///etc/passwd",
        "https://u:p@keys.test/",
        "//x",
        "https://",
        "https://a b",
    ],
)
def test_keys_come_over_https_only(keys: ProviderKeys, told: Told, url: Any) -> None:
    """A provider cannot send us to files, to plain HTTP, or nowhere."""
    told.discovery["jwks_uri"] = url
    with pytest.raises(Unavailable):
        keys.named("k")
    assert len(told.urls) == 1


@pytest.mark.parametrize("listed", [None, {}, "k", [KEY] * (MAX_KEYS + 1)])
def test_a_key_set_of_another_shape_is_no_key_set(keys: ProviderKeys, told: Told, listed: Any) -> None:
    """It is an outage, not an empty set: nobody is told that a key does not exist."""
    told.answer = {"keys": listed}
    with pytest.raises(Unavailable):
        keys.named("k")


@pytest.mark.parametrize("member", [None, 7, {"kty": "RSA"}, {**KEY, "kid": 7}, {**KEY, "use": "enc"}])
def test_members_that_are_no_signing_keys_are_passed_over(keys: ProviderKeys, told: Told, member: Any) -> None:
    """They neither count nor spoil the others."""
    told.answer = {"keys": [member, {**KEY, "kid": "other"}]}
    with pytest.raises(Denied):
        keys.named("k")
    assert keys.named("other")


def test_a_withdrawn_key_is_refused_once_keys_are_old(keys: ProviderKeys, told: Told, ticks: Ticks) -> None:
    """Keys are asked for again after a while although nobody names an unknown one."""
    keys.named("k")
    told.answer = {"keys": [{**KEY, "kid": "new"}]}
    ticks.now += FRESH_SECONDS - 1
    keys.named("k")
    ticks.now += 2
    with pytest.raises(Denied):
        keys.named("k")


def test_an_outage_is_tried_again_only_after_a_pause(keys: ProviderKeys, told: Told, ticks: Ticks) -> None:
    """Each attempt in between says unavailable at once, and the first after it finds the provider back."""
    told.answer = None
    for _ in range(3):
        with pytest.raises(Unavailable):
            keys.named("k")
    assert len(told.urls) == 1
    told.answer = {"keys": [KEY]}
    ticks.now += RETRY_SECONDS
    assert keys.named("k") == (KEY,)


def test_while_one_thread_asks_the_others_go_on(told: Told, ticks: Ticks) -> None:
    """A slow provider holds up nobody whose key is known, however old the keys have become meanwhile."""
    entered, go, slow = threading.Event(), threading.Event(), [False]

    def fetch(url: str) -> dict[str, Any]:
        if slow[0]:
            entered.set()
            assert go.wait(30)
        return told(url)

    keys = ProviderKeys(ISSUER, fetch, ticks)
    keys.named("k")
    slow[0] = True
    ticks.now += FRESH_SECONDS + 1
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(keys.named, "k")
        assert entered.wait(30)
        assert keys.named("k") == (KEY,)
        assert not asking.done()
        go.set()
        assert asking.result(30) == (KEY,)


def test_threads_that_come_together_ask_once(told: Told, ticks: Ticks) -> None:
    """The first asks, the others wait for what it learns."""
    keys = ProviderKeys(ISSUER, told, ticks)
    with ThreadPoolExecutor(8) as pool:
        assert {len(keys) for keys in pool.map(keys.named, ["k"] * 32)} == {1}
    assert len(told.urls) == 2


def _send(handler: BaseHTTPRequestHandler, body: bytes, status: int = 200, **headers: str) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    try:
        handler.wfile.write(body)
    except (BrokenPipeError, ConnectionResetError):
        return


def _endless(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    try:
        while True:
            handler.wfile.write(b'{"keys": [' + b" " * 65536)
    except (BrokenPipeError, ConnectionResetError):
        return


HOSTILE: dict[str, Callable[[BaseHTTPRequestHandler], None]] = {
    "huge": lambda one: _send(one, b'{"keys":["' + b"x" * MAX_ANSWER_BYTES + b'"]}'),
    "endless": _endless,
    "packed": lambda one: _send(one, gzip.compress(b" " * 50_000_000 + b"{}"), Content_Encoding="gzip"),
    "redirect": lambda one: _send(one, b"{}", 302, Location="/elsewhere"),
    "error": lambda one: _send(one, b"{}", 500),
    "empty": lambda one: _send(one, b""),
    "list": lambda one: _send(one, b"[]"),
    "html": lambda one: _send(one, b"<html>"),
    "latin": lambda one: _send(one, b'{"a": "\xff"}'),
    "deep": lambda one: _send(one, b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "short": lambda one: _send(one, b"{}", Content_Length="1000"),
    "no http": lambda one: one.wfile.write(b"SSH-2.0-OpenSSH\r\n"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_an_answer_that_is_no_small_object_is_an_outage(name: str) -> None:
    """Too large, endless, packed, elsewhere, failed or not JSON: unavailable, in bounded memory."""
    with serving(HOSTILE[name]) as address, closing(Fetcher(OidcSettings(issuer=address, audience="a"))) as fetch:
        with pytest.raises(Unavailable) as caught:
            fetch(address + "/")
        assert caught.value.code == "oidc-keys"


def test_a_slow_answer_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider that sends a byte now and then is given up."""
    monkeypatch.setattr(jwks, "DEADLINE_SECONDS", 0.2)
    over = threading.Event()

    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        try:
            while not over.wait(0.05):
                handler.wfile.write(b" ")
        except (BrokenPipeError, ConnectionResetError):
            return

    with serving(drip) as address, closing(Fetcher(OidcSettings(issuer=address, audience="a"))) as fetch:
        with pytest.raises(Unavailable):
            fetch(address + "/")
        over.set()


def test_the_environment_cannot_redirect_us(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy named by the environment is not asked."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with (
        serving(lambda one: _send(one, b'{"a": 1}')) as address,
        closing(Fetcher(OidcSettings(issuer=address, audience="a"))) as fetch,
    ):
        assert fetch(address + "/") == {"a": 1}


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """A certificate authority of the house."""
    return Authority(tmp_path / "ca")


@pytest.fixture
def private(authority: Authority) -> Iterator[str]:
    """A provider whose certificate is from that authority."""
    certificate = authority.issue("server", ["localhost"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_name("server-key.pem"))
    with serving(lambda one: _send(one, json.dumps({"a": 1}).encode()), context) as address:
        yield address


def test_an_authority_of_the_house_can_be_trusted(private: str, authority: Authority) -> None:
    """With its certificate the provider is believed, by the name it has; without, it is not."""
    trusting = OidcSettings(issuer="https://localhost", audience="a", ca_file=str(authority.ca_file))
    with closing(Fetcher(trusting)) as fetch:
        assert fetch(private) == {"a": 1}
        with pytest.raises(Unavailable):
            fetch(private.replace("localhost", "127.0.0.1"))
    with closing(Fetcher(OidcSettings(issuer="https://localhost", audience="a"))) as fetch, pytest.raises(Unavailable):
        fetch(private)


@pytest.mark.parametrize("content", [None, "", "no certificate"])
def test_a_ca_file_must_have_certificates(tmp_path: Path, content: str | None) -> None:
    """A file that is missing or empty is a mistake in the settings, told before anything is asked."""
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(Invalid) as caught:
        Fetcher(OidcSettings(issuer="https://idp.test", audience="a", ca_file=str(path)))
    assert caught.value.code == "oidc-settings"


def test_settings_come_from_a_table() -> None:
    """All of them, with roles checked against ours."""
    settings = OidcSettings.parse(
        {
            **SETTINGS,
            "role_claim": ["realm_access", "roles"],
            "roles": {"backup-auditors": "auditor"},
            "machines_claim": "machines",
            "machines_default": "all",
            "algorithms": ["PS256"],
        }
    )
    assert settings.role_claim == ("realm_access", "roles")
    assert settings.roles == {"backup-auditors": Role.AUDITOR}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"issuer": "http://idp.test"}, "https"),
        ({"issuer": "http://127.0.0.1.evil.test"}, "https"),
        ({"issuer": "http://10.0.0.1"}, "https"),
        ({"issuer": "idp.test"}, "plain URL"),
        ({"issuer": "https://u:p@idp.test"}, "plain URL"),
        ({"issuer": "https://idp.test?x"}, "plain URL"),
        ({"issuer": "https://idp.test/\n"}, "plain URL"),
        ({"issuer": "https://[::1"}, "oidc"),
        ({"issuer": "ftp://idp.test"}, "https"),
        ({"audience": ""}, "audience"),
        ({"algorithms": ["HS256"]}, "algorithms"),
        ({"algorithms": ["none"]}, "algorithms"),
        ({"algorithms": ["RS256", "HS512"]}, "algorithms"),
        ({"algorithms": []}, "algorithms"),
        ({"roles": {"x": "root"}}, "root"),
        ({"machines_default": "some"}, "some"),
        ({"role_claim": []}, "claim"),
        ({"role_claim": ""}, "claim"),
        ({"machines_claim": ["a", ""]}, "claim"),
        ({"secret": "x"}, "secret"),
        ({"audience": None}, "audience"),
    ],
)
def test_settings_that_make_no_sense_are_refused(change: dict[str, Any], words: str) -> None:
    """With words that name what is wrong."""
    with pytest.raises(Invalid) as caught:
        OidcSettings.parse({**SETTINGS, **change})
    assert caught.value.code == "oidc-settings"
    assert words in str(caught.value)


@pytest.mark.parametrize("issuer", ["http://127.0.0.1:8080/realm", "http://localhost", "http://[::1]:1", "https://a"])
def test_plain_http_is_for_this_machine_only(issuer: str) -> None:
    """Loopback needs no certificate."""
    assert OidcSettings(issuer=issuer, audience="a").issuer == issuer
