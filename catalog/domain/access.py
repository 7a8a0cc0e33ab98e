"""Who may ask and who asked: tokens, and the record of each call that changed or revealed something.

Pure; the rule of `events` holds here too. A token has a stream of its own; each process that answers calls writes
one stream of accesses. No secret is ever in an event: a token is known by a digest of it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from catalog.domain.events import Event


class TokenCreated(Event, frozen=True, kw_only=True):
    """A token was made. `machines`: globs over source/name, None for all; `digest` is SHA-256 of the secret."""

    name: str
    role: str
    machines: tuple[str, ...] | None
    digest: bytes
    created_by: str
    expires_at: datetime | None


class TokenRevoked(Event, frozen=True, kw_only=True):
    """The token is good for nothing from here on."""

    revoked_by: str


class AccessRecorded(Event, frozen=True, kw_only=True):
    """A call that changed or revealed something: who, what, and from where.

    Recorded before the answer leaves. `operation` is the API's operation id, `target` the path with its query,
    `detail` what was asked beyond it, such as the SQL text. `status` is the HTTP status it is answered with.
    """

    caller: str
    caller_kind: Literal["token", "oidc", "local"]
    role: str
    operation: str
    target: str
    detail: str
    address: str
    status: int
