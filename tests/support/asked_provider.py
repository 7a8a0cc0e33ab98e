"""A verifier of an OpenID provider's tokens, with clocks that tests set, and tokens of our own making."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest

from catalog.access.caller import Caller
from catalog.access.jwks import Fetcher, ProviderKeys
from catalog.access.oidc import OidcVerifier
from catalog.access.oidc_settings import OidcSettings
from storage.errors import Denied
from tests.support.openid import Jwk, Provider, ec_jwk, rsa_jwk
from tests.support.ticks import Ticks

AUDIENCE = "https://holdfast.test/"

CLIENTS: dict[str, dict[str, Any]] = {
    "auditor": {"alg": "RS256", "claims": {"holdfast_role": "auditor", "holdfast_machines": ["lab/web*"]}},
    "admin": {"alg": "ES256", "claims": {"holdfast_role": ["staff", "admin", "auditor"], "holdfast_machines": "*"}},
    "norole": {"alg": "RS256", "claims": {"holdfast_machines": "*"}},
    "stranger": {"alg": "RS256", "claims": {"holdfast_role": "superuser", "holdfast_machines": "*"}},
    "torn": {"alg": "RS256", "claims": {"holdfast_role": ["operator", "restorer"], "holdfast_machines": "*"}},
    "everywhere": {"alg": "RS256", "claims": {"holdfast_role": "auditor"}},
    "ps": {"alg": "PS256", "claims": {"holdfast_role": "auditor", "holdfast_machines": "*"}},
    "nested": {
        "alg": "RS256",
        "claims": {"realm": {"roles": ["backup-readers"]}, "https://x.test/m": ["lab/db", "lab/web*"]},
    },
}

RSA, EC, OTHER = rsa_jwk("rsa-1"), ec_jwk("ec-1"), rsa_jwk("rsa-2")


class Asked:
    """A verifier of a provider, over HTTP, with clocks that tests set."""

    def __init__(self, provider: Provider, ticks: Ticks, **settings: Any) -> None:
        self.settings = OidcSettings(**{"issuer": provider.issuer, "audience": AUDIENCE, **settings})
        self.offset = timedelta(0)
        self.urls: list[str] = []
        self._fetch = Fetcher(self.settings)
        keys = ProviderKeys(self.settings.issuer, self._get, ticks)
        self._verifier = OidcVerifier(self.settings, keys, lambda: datetime.now(UTC) + self.offset)

    def _get(self, url: str) -> dict[str, Any]:
        self.urls.append(url)
        return self._fetch(url)

    def close(self) -> None:
        self._fetch.close()

    def __call__(self, token: str) -> Caller:
        return self._verifier.caller_of(token)

    def refuses(self, token: str) -> str:
        """The code with which a token is refused."""
        with pytest.raises(Denied) as caught:
            self(token)
        assert not token or token not in f"{caught.value} {caught.value.hint}"
        return caught.value.code


Asking = Callable[..., Asked]


def signed(key: Jwk, claims: dict[str, Any], algorithm: str = "RS256", **header: Any) -> str:
    """A token that the provider never gave, signed with a key of our choice."""
    private = jwt.PyJWK(key, algorithm).key
    return jwt.encode(claims, private, algorithm, {"kid": key["kid"], "typ": "at+jwt", **header})


def claims(provider: Provider, **changes: Any) -> dict[str, Any]:
    """What a good token says; None takes a claim out."""
    now = int(time.time())
    good = {
        "iss": provider.issuer,
        "aud": AUDIENCE,
        "sub": "ada",
        "iat": now,
        "exp": now + 600,
        "holdfast_role": "auditor",
        "holdfast_machines": "*",
    }
    return {name: value for name, value in {**good, **changes}.items() if value is not None}
