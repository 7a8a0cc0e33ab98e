"""From an Authorization header to a caller, or nobody. Imports its neighbours and `storage.errors`.

Without a credential only this machine's own user is let in, and only while no identity was ever configured.
"""

from __future__ import annotations

import getpass
import ipaddress
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol

from catalog.access.caller import EVERYTHING, Caller, Role
from catalog.access.tokens import TokenBook
from storage.errors import Denied, HoldfastError

MAX_HEADER_CHARACTERS = 16 * 1024


class Verifier(Protocol):
    """An identity provider whose tokens are believed."""

    def caller_of(self, token: str) -> Caller:
        """Who bears this token. Raises Denied, Unavailable."""


class Identities:
    """Who calls. Every Denied that leaves here is about the credential, not about what its bearer may do."""

    def __init__(
        self, tokens: TokenBook, oidc: Verifier | None, clock: Callable[[], datetime], *, local_ok: bool
    ) -> None:
        self._tokens = tokens
        self._oidc = oidc
        self._clock = clock
        self._local_ok = local_ok

    @property
    def configured(self) -> bool:
        """Whether a provider is known or a token was ever made, be it revoked since."""
        return self._oidc is not None or bool(self._tokens.tokens())

    def identify(self, authorization: str | None, address: str) -> Caller:
        """The caller of a request from `address`. Raises Denied; Unavailable when nobody can tell now."""
        if authorization is not None and self._oidc is not None and self.asks_provider(authorization):
            return self._oidc.caller_of(_credential(authorization))
        self._tokens.follow()
        return self._by_log(authorization, address)

    def identify_all(self, requests: Sequence[tuple[str | None, str]]) -> list[Caller | Exception]:
        """As `identify`, for some requests that no provider is asked about, by one look at the log.

        Each is a header and an address; a failure stands in the caller's place.
        """
        self._tokens.follow()
        return [self._tried(*request) for request in requests]

    def asks_provider(self, authorization: str | None) -> bool:
        """Whether an identity provider tells who this is, which can take its time."""
        if authorization is None or self._oidc is None:
            return False
        return not authorization.partition(" ")[2].strip(" ").startswith("hf_")

    def _tried(self, authorization: str | None, address: str) -> Caller | Exception:
        try:
            return self._by_log(authorization, address)
        except HoldfastError as error:
            return error

    def _by_log(self, authorization: str | None, address: str) -> Caller:
        if authorization is None:
            return self._without_credential(address)
        return self._tokens.known_caller(_credential(authorization), self._clock())

    def _without_credential(self, address: str) -> Caller:
        if self._local_ok and is_loopback(address) and not self.configured:
            return local_caller()
        raise Denied("a credential is needed", code="credential-missing", hint="Authorization: Bearer ...")


def _credential(authorization: str) -> str:
    """The token of a header. Raises Denied."""
    scheme, _, credential = authorization.partition(" ")
    credential = credential.strip(" ")
    if scheme.lower() != "bearer" or not credential or len(authorization) > MAX_HEADER_CHARACTERS:
        raise Denied("this is no bearer credential", code="credential-malformed", hint="Authorization: Bearer ...")
    return credential


def local_caller() -> Caller:
    """The user of this process, who can read the home's files and so may do everything."""
    return Caller(getpass.getuser(), "local", Role.ADMIN, EVERYTHING)


def is_loopback(address: str) -> bool:
    """Whether an address is one of this machine alone."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
