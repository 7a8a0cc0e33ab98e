"""Which keys a token may be signed with: those that the provider publishes now, and no other."""

from __future__ import annotations

import time
from contextlib import ExitStack, closing
from datetime import UTC, datetime

import jwt
import pytest

from catalog.access.caller import Role
from catalog.access.jwks import RETRY_SECONDS, TRUSTED_SECONDS, ProviderKeys
from catalog.access.oidc import OidcVerifier
from catalog.access.oidc_settings import OidcSettings
from storage.errors import Denied, Unavailable
from tests.support.asked_provider import AUDIENCE, CLIENTS, EC, OTHER, RSA, Asked, claims, signed
from tests.support.openid import Provider, public, rsa_jwk, running_provider
from tests.support.ticks import Ticks


def test_a_token_cannot_bring_its_own_key(asked: Asked, provider: Provider) -> None:
    """`jwk`, `jku` and `x5u` in a header are not looked at: only keys that the provider publishes count."""
    stranger = {**rsa_jwk("mine"), "kid": "rsa-1"}
    brought = {"jwk": public(stranger), "jku": "https://evil.test/keys", "x5u": "https://evil.test/cert"}
    assert asked.refuses(signed(stranger, claims(provider), **brought)) == "oidc-signature"
    assert all(url.startswith(provider.issuer) for url in asked.urls)


def test_a_key_is_used_for_its_own_algorithm_only(asked: Asked, provider: Provider) -> None:
    """An elliptic-curve key cannot be named by a token that says RSA, nor the other way."""
    assert asked.refuses(signed(RSA, claims(provider), kid="ec-1")) == "oidc-key"
    assert asked.refuses(signed(EC, claims(provider), "ES256", kid="rsa-1")) == "oidc-key"


@pytest.mark.parametrize("kid", ["gone", "", "../rsa-1", "rsa-1\x00", "r" * 5000])
def test_an_unknown_key_is_refused(asked: Asked, provider: Provider, kid: str) -> None:
    """A token names a key that the provider has."""
    assert asked.refuses(signed(RSA, claims(provider), kid=kid)) == "oidc-key"


def test_unknown_keys_do_not_make_us_ask_again_and_again(asked: Asked, provider: Provider, ticks: Ticks) -> None:
    """However many tokens name unknown keys, the provider is asked once in a while only."""
    asked(provider.token("auditor", AUDIENCE))
    for number in range(20):
        ticks.now += RETRY_SECONDS / 20
        asked.refuses(signed(RSA, claims(provider), kid=f"made-up-{number}"))
    assert len(asked.urls) == 4


def test_a_rotated_key_is_found_and_the_old_one_forgotten(asked: Asked, provider: Provider, ticks: Ticks) -> None:
    """A token with a new key makes us look; one with a withdrawn key is refused from then on."""
    old = provider.token("auditor", AUDIENCE)
    asked(old)
    provider.rotate(OTHER, EC)
    ticks.now += RETRY_SECONDS
    assert asked(provider.token("auditor", AUDIENCE)).role is Role.AUDITOR
    ticks.now += RETRY_SECONDS
    assert asked.refuses(old) == "oidc-key"


def test_a_short_rsa_key_is_not_used(ticks: Ticks) -> None:
    """A provider with a key of 1024 bits could be impersonated by who factors it."""
    weak = rsa_jwk("weak", 1024)
    answers = {"/.well-known/openid-configuration": {"issuer": "https://idp.test", "jwks_uri": "https://idp.test/k"}}
    answers["/k"] = {"keys": [public(weak)]}  # type: ignore[dict-item]  # as JSON is
    keys = ProviderKeys("https://idp.test", lambda url: answers[url.removeprefix("https://idp.test")], ticks)
    settings = OidcSettings(issuer="https://idp.test", audience=AUDIENCE)
    verifier = OidcVerifier(settings, keys, lambda: datetime.now(UTC))
    with pytest.warns(jwt.InsecureKeyLengthWarning):
        token = signed(weak, {"iss": "https://idp.test", "aud": AUDIENCE, "sub": "ada", "exp": time.time() + 60})
    with pytest.raises(Denied) as caught:
        verifier.caller_of(token)
    assert caught.value.code == "oidc-key"


def test_a_provider_that_is_down_lets_nobody_in(ticks: Ticks) -> None:
    """Keys that are known still count for a while; without any, or when they are old, the answer is unavailable."""
    with ExitStack() as stack, running_provider(CLIENTS, RSA, EC) as provider:
        warm, cold = (stack.enter_context(closing(Asked(provider, ticks))) for _ in range(2))
        token, other = provider.token("auditor", AUDIENCE), signed(OTHER, claims(provider))
        warm(token)
        provider.stop()
        with pytest.raises(Unavailable) as caught:
            cold(token)
        assert caught.value.code == "oidc-keys"
        ticks.now += TRUSTED_SECONDS - 1
        assert warm(token).role is Role.AUDITOR
        with pytest.raises(Unavailable):
            warm(other)
        ticks.now += 2
        with pytest.raises(Unavailable):
            warm(token)
