"""Which identity provider is believed, and how its claims become a role and a scope. Imports `storage.errors`.

A settings file has this as its table `oidc`. Nothing here is a secret: we only check what the provider signed.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

from catalog.access.caller import Role
from storage.errors import Invalid

ASYMMETRIC = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"})
"""What a token may be signed with: never a shared secret, and never nothing."""
ClaimPath = str | tuple[str, ...]


class OidcSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The provider. A claim is a name, or a list of names that lead to it through nested objects.

    `roles` maps the provider's names to ours; where it is empty the provider uses our names. A token without the
    machines claim knows of no machine, or of all there are: `machines_default`.
    """

    issuer: str
    audience: str
    role_claim: ClaimPath = "holdfast_role"
    roles: dict[str, Role] = {}
    machines_claim: ClaimPath = "holdfast_machines"
    machines_default: Literal["none", "all"] = "none"
    algorithms: tuple[str, ...] = ("RS256", "ES256", "EdDSA")
    ca_file: str | None = None
    """Whom to trust for the provider's certificate, where that is not a public authority."""

    def __post_init__(self) -> None:
        check_url(self.issuer, "issuer")
        if not self.audience:
            raise ValueError("the audience must not be empty")
        if not self.algorithms or not ASYMMETRIC.issuperset(self.algorithms):
            raise ValueError(f"algorithms must be some of {', '.join(sorted(ASYMMETRIC))}")
        for path in (self.role_claim, self.machines_claim):
            if not path or "" in path_of(path):
                raise ValueError("a claim needs a name")

    @classmethod
    def parse(cls, table: Mapping[str, Any]) -> OidcSettings:
        """The settings that a table of TOML has. Raises Invalid."""
        try:
            return msgspec.convert(dict(table), cls)
        except msgspec.ValidationError as error:
            raise Invalid("the oidc settings are wrong", code="oidc-settings", why=str(error)) from error


def path_of(claim: ClaimPath) -> tuple[str, ...]:
    """The names that lead to a claim."""
    return (claim,) if isinstance(claim, str) else claim


def check_url(url: str, what: str) -> None:
    """Raise ValueError unless this is a plain https URL, or an http one of this machine."""
    parts = urlsplit(url)
    plain = parts.hostname and not (parts.username or parts.password or parts.query or parts.fragment)
    if not plain or not url.isprintable() or " " in url:
        raise ValueError(f"the {what} must be a plain URL")
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_this_machine(parts.hostname or "")):
        raise ValueError(f"the {what} must be reached over https, unless it is on this machine")


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
