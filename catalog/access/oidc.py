"""Bearer tokens of an OpenID provider: a signed JWT becomes a caller, or nothing does.

Imports pyjwt, its neighbours and `storage.errors` of ours. Only what the provider signed counts, with a key that it
publishes and an algorithm on our list; a claim that is missing or not understood grants nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import datetime
from typing import Any, NoReturn
from urllib.parse import urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from catalog.access.caller import EVERYTHING, GRANTS, Caller, Role, Scope
from catalog.access.jwks import Fetcher, Jwk, ProviderKeys
from catalog.access.oidc_settings import ClaimPath, OidcSettings, path_of
from catalog.access.tokens import check_globs
from storage.errors import Denied, Invalid

LEEWAY_SECONDS = 30
LEAST_RSA_BITS = 2048
MAX_SUBJECT = 255
TYPES = (None, "jwt", "at+jwt", "application/at+jwt")
"""Tokens for an API. Others that a provider signs, such as logout tokens, are for somebody else."""
KTY = {"R": "RSA", "P": "RSA", "E": "EC"}
ALL_MACHINES = "*"
CODES: Mapping[type[Exception], str] = {
    jwt.InvalidSignatureError: "oidc-signature",
    jwt.InvalidAudienceError: "oidc-audience",
    jwt.InvalidIssuerError: "oidc-issuer",
    jwt.MissingRequiredClaimError: "oidc-claims",
}


class OidcVerifier:
    """Says who bears a token of one provider. Safe to use from several threads."""

    def __init__(self, settings: OidcSettings, keys: ProviderKeys, clock: Callable[[], datetime]) -> None:
        self._settings = settings
        self._keys = keys
        self._clock = clock
        self._host = urlsplit(settings.issuer).netloc

    @classmethod
    @contextmanager
    def opened(cls, settings: OidcSettings, clock: Callable[[], datetime]) -> Iterator[OidcVerifier]:
        """A verifier that asks the provider over HTTP; nothing is asked before the first token comes."""
        with closing(Fetcher(settings)) as fetch:
            yield cls(settings, ProviderKeys(settings.issuer, fetch), clock)

    def caller_of(self, token: str) -> Caller:
        """Who bears this token. Raises Denied; Unavailable when the provider's keys cannot be known."""
        claims = self._claims(token)
        self._check_times(claims)
        subject = claims["sub"]
        if not isinstance(subject, str) or not 0 < len(subject) <= MAX_SUBJECT or not subject.isprintable():
            raise Denied("the token's subject is no name", code="oidc-subject")
        role, scope = self._role(claims), self._scope(claims)
        return Caller(f"oidc:{self._host}/{subject}", "oidc", role, scope)

    def _claims(self, token: str) -> dict[str, Any]:
        try:
            header = jwt.get_unverified_header(token)
            algorithm, kid = self._check_header(header)
            return jwt.decode(
                token,
                _usable(self._keys.named(kid), algorithm),
                algorithms=[algorithm],
                audience=self._settings.audience,
                issuer=self._settings.issuer,
                # Times are ours to check, by our clock.
                options={
                    "require": ["iss", "aud", "exp", "sub"],
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                },
            )
        except (jwt.PyJWTError, ValueError, RecursionError) as error:
            code = next((code for kind, code in CODES.items() if isinstance(error, kind)), "oidc-malformed")
            # The library's words may repeat parts of the token.
            raise Denied("the identity provider's token is not valid here", code=code) from error

    def _check_header(self, header: Mapping[str, Any]) -> tuple[str, str]:
        algorithm, kid, kind = header.get("alg"), header.get("kid"), header.get("typ")
        if algorithm not in self._settings.algorithms:
            raise Denied("the token is not signed as it must be", code="oidc-algorithm")
        if (kind.lower() if isinstance(kind, str) else kind) not in TYPES or "crit" in header:
            raise Denied("this is no token for an API", code="oidc-type")
        if not isinstance(kid, str):
            raise Denied("the token does not name its key", code="oidc-key")
        return str(algorithm), kid

    def _check_times(self, claims: Mapping[str, Any]) -> None:
        now = self._clock().timestamp()
        # Asked so that what is no number in a float's sense is no valid time either.
        if not now < _seconds(claims, "exp", 0) + LEEWAY_SECONDS:
            raise Denied("the token has expired", code="oidc-expired", hint="get a new one from the provider")
        if not all(_seconds(claims, name, now) <= now + LEEWAY_SECONDS for name in ("nbf", "iat")):
            raise Denied("the token is not valid yet", code="oidc-not-yet", hint="compare the clocks")

    def _role(self, claims: Mapping[str, Any]) -> Role:
        """The role that grants all that the token's other roles grant."""
        held = _found(claims, self._settings.role_claim)
        names = [held] if isinstance(held, str) else held
        known: Mapping[str, Role] = self._settings.roles or {role.value: role for role in Role}
        roles = {known[name] for name in names if name in known} if _are_names(names) else set()
        if not roles:
            raise Denied(
                "the token gives no role that is known here", code="oidc-role", hint="ask who runs the provider"
            )
        widest = max(roles, key=lambda role: len(GRANTS[role]))
        if not all(GRANTS[role] <= GRANTS[widest] for role in roles):
            raise Denied(
                "the token gives roles that exclude each other", code="oidc-role", why=", ".join(sorted(roles))
            )
        return widest

    def _scope(self, claims: Mapping[str, Any]) -> Scope:
        held = _found(claims, self._settings.machines_claim)
        if held is None:
            return EVERYTHING if self._settings.machines_default == "all" else _no_machines()
        globs = [held] if isinstance(held, str) else held
        if globs == [ALL_MACHINES]:
            return EVERYTHING
        if not _are_names(globs):
            _no_machines()
        try:
            check_globs(globs)
        except Invalid:
            _no_machines()
        return Scope(tuple(globs))


def _usable(jwks: tuple[Jwk, ...], algorithm: str) -> jwt.PyJWK:
    """The key for an algorithm. Raises Denied; what the library raises for a key that it cannot read."""
    for jwk in jwks:
        if jwk.get("kty") == KTY.get(algorithm[0], "OKP") and jwk.get("alg") in (None, algorithm):
            key = jwt.PyJWK(dict(jwk), algorithm)
            if not isinstance(key.key, RSAPublicKey) or key.key.key_size >= LEAST_RSA_BITS:
                return key
    raise Denied("the token is signed with a key that is not for it", code="oidc-key")


def _found(claims: Mapping[str, Any], claim: ClaimPath) -> Any:
    value: Any = claims
    for name in path_of(claim):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _seconds(claims: Mapping[str, Any], name: str, absent: float) -> float:
    value = claims.get(name, absent)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Denied("the token's times are not numbers", code="oidc-claims")
    return value


def _no_machines() -> NoReturn:
    raise Denied("the token names no machines", code="oidc-machines", hint="ask who runs the provider")
