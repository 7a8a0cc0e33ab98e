"""Tokens of an identity provider: a real one, and ones that lie."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import jwt
import pytest

from catalog.access.caller import EVERYTHING, Caller, Role, Scope
from catalog.access.oidc import LEEWAY_SECONDS
from storage.errors import Unavailable
from tests.support.asked_provider import AUDIENCE, RSA, Asked, Asking, claims, signed
from tests.support.openid import Provider, public


def test_a_token_of_the_provider_is_a_caller(asked: Asked, provider: Provider) -> None:
    """Name, role and scope come from its claims; RSA and elliptic curves both do."""
    host = provider.issuer.removeprefix("http://")
    caller = asked(provider.token("auditor", AUDIENCE))
    assert caller == Caller(f"oidc:{host}/auditor", "oidc", Role.AUDITOR, Scope(("lab/web*",)))
    caller = asked(provider.token("admin", AUDIENCE))
    assert (caller.role, caller.scope) == (Role.ADMIN, EVERYTHING)


def test_the_provider_is_asked_once(asked: Asked, provider: Provider) -> None:
    """Discovery and keys are fetched with the first token and kept for the next."""
    for _ in range(5):
        asked(provider.token("auditor", AUDIENCE))
    assert len(asked.urls) == 2


def test_a_token_for_another_api_is_refused(asked: Asked, provider: Provider) -> None:
    """The audience must be ours."""
    assert asked.refuses(provider.token("auditor", "https://elsewhere.test/")) == "oidc-audience"


def test_a_token_of_another_issuer_is_refused(asked: Asked, provider: Provider) -> None:
    """Even when it is signed with a key that the provider has."""
    for issuer in ("https://evil.test", provider.issuer + "/", provider.issuer.upper()):
        assert asked.refuses(signed(RSA, claims(provider, iss=issuer))) == "oidc-issuer"


def test_a_provider_that_claims_another_name_is_not_believed(provider: Provider, asking: Asking) -> None:
    """Discovery at the configured address must name the configured issuer, to the letter."""
    asked = asking(issuer=provider.issuer.replace("127.0.0.1", "localhost"))
    with pytest.raises(Unavailable) as caught:
        asked(provider.token("auditor", AUDIENCE))
    assert "another issuer" in str(caught.value)


def test_an_expired_token_is_refused(asked: Asked, provider: Provider) -> None:
    """With a little leeway for clocks, and none beyond it."""
    token = provider.token("auditor", AUDIENCE)
    asked.offset = timedelta(seconds=600 + LEEWAY_SECONDS - 5)
    asked(token)
    asked.offset = timedelta(seconds=600 + LEEWAY_SECONDS + 5)
    assert asked.refuses(token) == "oidc-expired"


def test_a_token_of_the_future_is_refused(asked: Asked, provider: Provider) -> None:
    """Neither one issued later than now, nor one that is not to be used before later."""
    asked.offset = timedelta(seconds=-LEEWAY_SECONDS - 5)
    assert asked.refuses(provider.token("auditor", AUDIENCE)) == "oidc-not-yet"
    asked.offset = timedelta(0)
    later = int(time.time()) + LEEWAY_SECONDS + 60
    assert asked.refuses(signed(RSA, claims(provider, nbf=later))) == "oidc-not-yet"


@pytest.mark.parametrize("name", ["exp", "nbf", "iat"])
@pytest.mark.parametrize("value", ["soon", True, float("nan"), [], {}])
def test_times_must_be_numbers(asked: Asked, provider: Provider, name: str, value: Any) -> None:
    """Whatever is no number is no valid time, though the provider signed it."""
    assert asked.refuses(signed(RSA, claims(provider, **{name: value}))).startswith("oidc-")


@pytest.mark.parametrize("name", ["iss", "aud", "exp", "sub"])
def test_required_claims_are_required(asked: Asked, provider: Provider, name: str) -> None:
    """A token that leaves one out is refused."""
    assert asked.refuses(signed(RSA, claims(provider, **{name: None}))) == "oidc-claims"


def test_an_unsigned_token_is_refused(asked: Asked, provider: Provider) -> None:
    """`none`, however it is spelled, is no algorithm."""
    good = provider.token("auditor", AUDIENCE)
    _, payload, signature = good.split(".")
    for algorithm in ("none", "None", "NONE", ""):
        header = jwt.utils.base64url_encode(f'{{"alg":"{algorithm}","kid":"rsa-1"}}'.encode()).decode()
        assert asked.refuses(f"{header}.{payload}.") == "oidc-algorithm"
        assert asked.refuses(f"{header}.{payload}.{signature}") == "oidc-algorithm"


def test_the_public_key_is_no_shared_secret(asked: Asked, provider: Provider) -> None:
    """A token signed by HMAC with the provider's public key is refused, since HMAC is never an algorithm of ours."""
    pem = jwt.PyJWK(public(RSA), "RS256").key.public_bytes(*_pem())
    forged = _hmac_token(claims(provider), pem)
    assert asked.refuses(forged) == "oidc-algorithm"


@pytest.mark.parametrize("algorithm", ["RS384", "PS256"])
def test_only_configured_algorithms_count(asked: Asked, provider: Provider, algorithm: str) -> None:
    """A sound signature by an algorithm that was not chosen is refused."""
    assert asked.refuses(signed(RSA, claims(provider), algorithm)) == "oidc-algorithm"


def test_another_algorithm_can_be_chosen(provider: Provider, asking: Asking) -> None:
    """PS256 works where the settings name it."""
    asked = asking(algorithms=("PS256",))
    assert asked(provider.token("ps", AUDIENCE)).role is Role.AUDITOR
    assert asked.refuses(provider.token("auditor", AUDIENCE)) == "oidc-algorithm"


def test_a_changed_token_is_refused(asked: Asked, provider: Provider) -> None:
    """No part can be altered, left out or taken from another token."""
    one, two = provider.token("auditor", AUDIENCE).split("."), provider.token("admin", AUDIENCE).split(".")
    payload = jwt.utils.base64url_encode(jwt.utils.base64url_decode(one[1]).replace(b"auditor", b"adminis"))
    forged = [
        [one[0], payload.decode(), one[2]],
        [one[0], two[1], one[2]],
        [one[0], one[1], two[2]],
        [two[0], one[1], one[2]],
        [one[0], one[1], ""],
        [one[0], one[1], one[2][:-4]],
        [one[0], one[1], "A" * len(one[2])],
    ]
    assert {asked.refuses(".".join(parts)) for parts in forged} <= {"oidc-signature", "oidc-malformed"}


def test_no_flipped_bit_of_a_signature_passes(asked: Asked, provider: Provider) -> None:
    """Each bit of the signature counts."""
    head, _, signature = provider.token("admin", AUDIENCE).rpartition(".")
    raw = jwt.utils.base64url_decode(signature)
    for place in range(len(raw) * 8):
        bent = bytearray(raw)
        bent[place // 8] ^= 1 << place % 8
        assert asked.refuses(f"{head}.{jwt.utils.base64url_encode(bytes(bent)).decode()}") == "oidc-signature"


@pytest.mark.parametrize("kind", ["logout+jwt", "secevent+jwt", "dpop+jwt", ["at+jwt"], 7])
def test_a_token_of_another_kind_is_refused(asked: Asked, provider: Provider, kind: Any) -> None:
    """What a provider signs for other purposes lets nobody in."""
    assert asked.refuses(signed(RSA, claims(provider), typ=kind)) == "oidc-type"


def test_a_critical_header_is_refused(asked: Asked, provider: Provider) -> None:
    """We understand no extension, so none may be critical."""
    assert asked.refuses(signed(RSA, claims(provider), crit=["exp"], exp=1)).startswith("oidc-")


@pytest.mark.parametrize(
    "token",
    [
        "",
        ".",
        "..",
        "...",
        "a.b.c",
        "é.é.é",
        "\ud800.a.b",
        "e30.e30.e30",
        "bnVsbA.e30.",
        "W10.e30.",
        "=.=.=",
        "a" * 9000,
    ],
)
def test_garbage_is_refused(asked: Asked, token: str) -> None:
    """Whatever is no token is denied, not a fault, and makes nobody ask the provider."""
    assert asked.refuses(token) in ("oidc-malformed", "oidc-algorithm")
    assert asked.urls == []


def test_a_deeply_nested_header_is_refused(asked: Asked) -> None:
    """A header that would exhaust the parser's stack is denied as any other that cannot be read."""
    deep = jwt.utils.base64url_encode(b'{"alg":' + b"[" * 9000 + b"]" * 9000 + b"}").decode()
    assert asked.refuses(f"{deep}.e30.e30") in ("oidc-malformed", "oidc-algorithm")


def _pem() -> tuple[Any, Any]:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return Encoding.PEM, PublicFormat.SubjectPublicKeyInfo


def _hmac_token(payload: dict[str, Any], secret: bytes) -> str:
    import hashlib
    import hmac
    import json

    def part(value: Any) -> str:
        return jwt.utils.base64url_encode(json.dumps(value).encode()).decode()

    head = f"{part({'alg': 'HS256', 'typ': 'at+jwt', 'kid': 'rsa-1'})}.{part(payload)}"
    signature = hmac.new(secret, head.encode(), hashlib.sha256).digest()
    return f"{head}.{jwt.utils.base64url_encode(signature).decode()}"
