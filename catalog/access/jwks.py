"""The provider's public keys: found by discovery, kept for a while, asked for again when a token names a new one.

Imports httpx, and `storage.errors` of ours. An answer is bounded in bytes and time, and no redirect is followed. Keys
are never believed for longer than an hour after the provider last told them, so that it can take one back.
"""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import msgspec

from catalog.access.oidc_settings import OidcSettings, check_url
from storage.errors import Denied, Invalid, Unavailable

MAX_ANSWER_BYTES = 512 * 1024
MAX_KEYS = 100
TIMEOUT_SECONDS = 5.0
DEADLINE_SECONDS = 10.0
FRESH_SECONDS = 600.0
TRUSTED_SECONDS = 3600.0
RETRY_SECONDS = 15.0
DISCOVERY = "/.well-known/openid-configuration"
Jwk = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Held:
    """The keys by identifier, and when they were told."""

    keys: Mapping[str, tuple[Jwk, ...]]
    told_at: float


class ProviderKeys:
    """Safe to use from several threads; one of them asks the provider while the others go on with what is known.

    `monotonic`: seconds that never go back. `fetch`: gives the object at a URL, or raises Unavailable.
    """

    def __init__(
        self, issuer: str, fetch: Callable[[str], dict[str, Any]], monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._issuer = issuer
        self._fetch = fetch
        self._monotonic = monotonic
        self._asking = threading.Lock()
        self._held: _Held | None = None
        self._asked_at: float | None = None
        self._failure: str | None = None

    def named(self, kid: str) -> tuple[Jwk, ...]:
        """The keys with this identifier. Raises Denied; Unavailable when that cannot be known now."""
        held = self._held
        if held is None or kid not in held.keys or self._age(held) > FRESH_SECONDS:
            usable = held is not None and kid in held.keys and self._age(held) <= TRUSTED_SECONDS
            if self._asking.acquire(blocking=not usable):
                try:
                    self._ask(kid)
                finally:
                    self._asking.release()
        return self._known(kid)

    def _ask(self, kid: str) -> None:
        held, now = self._held, self._monotonic()
        if held is not None and kid in held.keys and self._age(held) <= FRESH_SECONDS:
            return  # another thread asked while this one waited
        if self._asked_at is not None and now - self._asked_at < RETRY_SECONDS:
            return
        self._asked_at = now
        try:
            self._held = _Held(self._keys(), now)
            self._failure = None
        except Unavailable as error:
            self._failure = str(error)

    def _known(self, kid: str) -> tuple[Jwk, ...]:
        held, failure = self._held, self._failure
        if held is None or self._age(held) > TRUSTED_SECONDS or (kid not in held.keys and failure):
            raise Unavailable(
                "the identity provider's keys are not known now",
                code="oidc-keys",
                why=failure or "",
                hint="try again shortly",
            )
        if kid not in held.keys:
            raise Denied("the token is signed with a key that its provider does not have", code="oidc-key")
        return held.keys[kid]

    def _age(self, held: _Held) -> float:
        return self._monotonic() - held.told_at

    def _keys(self) -> dict[str, tuple[Jwk, ...]]:
        found = self._fetch(self._issuer.rstrip("/") + DISCOVERY)
        if found.get("issuer") != self._issuer:
            raise _unusable("it says that it is another issuer")
        url = found.get("jwks_uri")
        try:
            check_url(url if isinstance(url, str) else "", "jwks_uri")
        except ValueError as error:
            raise _unusable(str(error)) from error
        listed = self._fetch(str(url)).get("keys")
        if not isinstance(listed, list) or len(listed) > MAX_KEYS:
            raise _unusable("its keys are no list, or too many")
        keys: dict[str, tuple[Jwk, ...]] = {}
        for jwk in listed:
            if isinstance(jwk, dict) and isinstance(kid := jwk.get("kid"), str) and jwk.get("use") in (None, "sig"):
                keys[kid] = (*keys.get(kid, ()), jwk)
        return keys


class Fetcher:
    """Gets small JSON objects over HTTP. Raises Invalid when the settings' CA file cannot be used."""

    def __init__(self, settings: OidcSettings) -> None:
        try:
            trusted = ssl.create_default_context(cafile=settings.ca_file) if settings.ca_file else True
        except OSError as error:
            raise Invalid(
                f"{settings.ca_file} has no certificates", code="oidc-settings", why=error.strerror or ""
            ) from error
        # The environment of the process has no say in whom we ask and whom we trust.
        self._client = httpx.Client(
            verify=trusted,
            trust_env=False,
            follow_redirects=False,
            timeout=TIMEOUT_SECONDS,
            headers={"Accept": "application/json", "Accept-Encoding": "identity"},
        )

    def __call__(self, url: str) -> dict[str, Any]:
        """The object at a URL. Raises Unavailable for anything else."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        body = bytearray()
        try:
            with self._client.stream("GET", url) as answer:
                if answer.status_code != 200 or "content-encoding" in answer.headers:
                    raise _unusable(f"it answers with status {answer.status_code}")
                # Raw bytes: nothing is unpacked, so the size is what it seems.
                for piece in answer.iter_raw():
                    body += piece
                    if len(body) > MAX_ANSWER_BYTES or time.monotonic() > deadline:
                        raise _unusable("its answer is too large or too slow")
            return msgspec.json.decode(bytes(body), type=dict[str, Any])
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise _unusable(f"it does not answer ({type(error).__name__})") from error
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise _unusable("its answer is no JSON object") from error

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def _unusable(why: str) -> Unavailable:
    return Unavailable("the identity provider is of no use now", code="oidc-keys", why=why)
