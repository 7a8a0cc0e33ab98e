"""API tokens: made once, known by a digest, found again by every process that follows the log.

May import `catalog.domain`, `catalog.log` and `storage`. A secret is returned once and kept nowhere; every look-up
reads the log's new token events first, so a revocation counts at once, whichever process made it.
"""

from __future__ import annotations

import hmac
import re
import threading
from base64 import urlsafe_b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256
from uuid import UUID, uuid5

from catalog.access.caller import Caller, Role, Scope
from catalog.domain.access import TokenCreated, TokenRevoked
from catalog.domain.events import Event
from catalog.log import EventLog
from storage.errors import Conflict, Denied, Invalid, Limit, NotFound

ROLES: frozenset[str] = frozenset(Role)
SECRET_BYTES = 32
MAX_USABLE = 10_000
MAX_GLOBS = 100
MAX_GLOB_CHARACTERS = 200
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
"""No colon and no space: a token cannot be called like a caller of another kind."""
SECRET = re.compile(r"hf_([0-9a-f]{32})_[A-Za-z0-9_-]{43}")
SECRET_IN_TEXT = re.compile(r"(hf_[0-9a-f]{32}_)[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True)
class TokenRow:
    """What may be told of a token. `machines`: globs over source/name, None for all."""

    token_id: UUID
    name: str
    role: str
    machines: tuple[str, ...] | None
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None = None
    revoked_by: str | None = None

    def usable(self, now: datetime) -> bool:
        """Whether it lets its bearer in."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


class TokenBook:
    """All tokens of a repository. Safe to use from several threads. `random`: gives so many unguessable bytes."""

    def __init__(
        self,
        log: EventLog,
        repository_id: UUID,
        clock: Callable[[], datetime],
        random: Callable[[int], bytes],
    ) -> None:
        self._log = log
        self._repository_id = repository_id
        self._clock = clock
        self._random = random
        self._lock = threading.Lock()
        self._position = 0
        self._rows: dict[UUID, TokenRow] = {}
        self._digests: dict[UUID, bytes] = {}

    def create(
        self,
        name: str,
        role: Role,
        machines: Sequence[str] | None,
        expires_at: datetime | None,
        created_by: str,
    ) -> tuple[UUID, str]:
        """Make a token; return its id and its secret, which cannot be had again.

        Raises Invalid; Conflict when a usable token has the name; Limit when there are too many usable ones.
        """
        now = self._clock()
        _check(name, role, machines, expires_at, now)
        rows = self.tokens()
        usable = [row for row in rows if row.usable(now)]
        if any(row.name == name for row in usable):
            raise Conflict(
                f"there is a token called {name} already", code="token-name", hint="revoke it or choose another name"
            )
        if len(usable) >= MAX_USABLE:
            raise Limit(f"there are {MAX_USABLE} usable tokens", code="token-count", hint="revoke some")
        # The count makes the stream: of two processes that make the same name at once, one meets a conflict.
        token_id = uuid5(self._repository_id, f"token:{name}:{sum(row.name == name for row in rows)}")
        secret = f"hf_{token_id.hex}_{urlsafe_b64encode(self._random(SECRET_BYTES)).rstrip(b'=').decode()}"
        self._log.save(
            TokenCreated(
                originator_id=token_id,
                originator_version=1,
                recorded_at=now,
                name=name,
                role=role.value,
                machines=None if machines is None else tuple(machines),
                digest=digest_of(secret),
                created_by=created_by,
                expires_at=expires_at,
            )
        )
        return token_id, secret

    def revoke(self, token_id: UUID, by: str) -> TokenRow:
        """Make a token good for nothing; nothing happens when it was revoked before. Raises NotFound."""
        if self.token(token_id).revoked_at is None:
            revoked = TokenRevoked(
                originator_id=token_id, originator_version=2, recorded_at=self._clock(), revoked_by=by
            )
            try:
                self._log.save(revoked)
            except Conflict:
                if self.token(token_id).revoked_at is None:
                    raise
        return self.token(token_id)

    def tokens(self) -> list[TokenRow]:
        """All tokens, the oldest first; those that were revoked or expired too."""
        with self._lock:
            self._read_on()
            return list(self._rows.values())

    def token(self, token_id: UUID) -> TokenRow:
        """One token. Raises NotFound."""
        with self._lock:
            self._read_on()
            row = self._rows.get(token_id)
        if row is None:
            raise NotFound(f"there is no token {token_id}", code="token-unknown", hint="holdfast token list")
        return row

    def caller_of(self, secret: str, now: datetime) -> Caller:
        """Who bears this secret. Raises Denied, with the same words for all secrets that were never given out."""
        self.follow()
        return self.known_caller(secret, now)

    def follow(self) -> None:
        """Read the log's new token events."""
        with self._lock:
            self._read_on()

    def known_caller(self, secret: str, now: datetime) -> Caller:
        """As `caller_of`, by what was read of the log last."""
        form = SECRET.fullmatch(secret)
        if form is None:
            raise _unknown()
        token_id = UUID(form[1])
        row, known = self._rows.get(token_id), self._digests.get(token_id, bytes(32))
        if not hmac.compare_digest(digest_of(secret), known) or row is None:
            raise _unknown()
        if row.revoked_at is not None:
            raise Denied("the token was revoked", code="token-revoked", hint="ask an admin for a new one")
        if not row.usable(now):
            raise Denied("the token has expired", code="token-expired", hint="ask an admin for a new one")
        if row.role not in ROLES:
            raise Denied(f"the token's role {row.role} is not known here", code="token-role", hint="upgrade holdfast")
        return Caller(row.name, "token", Role(row.role), Scope(row.machines))

    def _read_on(self) -> None:
        end = self._log.position()
        if end == self._position:
            return
        for recorded in self._log.follow_only((TokenCreated, TokenRevoked), self._position):
            self._apply(recorded.event)
            self._position = recorded.position
        self._position = max(self._position, end)

    def _apply(self, event: Event) -> None:
        token_id = event.originator_id
        if isinstance(event, TokenCreated):
            self._digests[token_id] = event.digest
            self._rows[token_id] = TokenRow(
                token_id=token_id,
                name=event.name,
                role=event.role,
                machines=event.machines,
                created_at=event.recorded_at,
                created_by=event.created_by,
                expires_at=event.expires_at,
            )
        elif isinstance(event, TokenRevoked):
            self._rows[token_id] = replace(
                self._rows[token_id], revoked_at=event.recorded_at, revoked_by=event.revoked_by
            )


def digest_of(secret: str) -> bytes:
    """What is kept of a secret.

    A fast hash is right here: slow ones make up for passwords that can be guessed, and nobody guesses 256 random bits,
    while each request pays for the hash.
    """
    return sha256(secret.encode()).digest()


def _check(name: str, role: Role, machines: Sequence[str] | None, expires_at: datetime | None, now: datetime) -> None:
    if not NAME.fullmatch(name):
        raise Invalid(
            "this is no name for a token",
            code="token-name",
            hint="up to 64 letters, digits and . _ @ -, a letter or digit first",
        )
    if machines is not None:
        check_globs(machines)
    elif role is Role.AGENT:
        raise Invalid("an agent's token names its machines", code="token-machines", hint="--machines agent/NAME")
    if expires_at is not None and (expires_at.tzinfo is None or expires_at <= now):
        raise Invalid("a token must expire in the future", code="token-expiry", hint="such as --expires 90d")


def check_globs(globs: Sequence[str]) -> None:
    """Raise Invalid unless each is a glob over source/name."""
    if not 0 < len(globs) <= MAX_GLOBS:
        raise Invalid(f"a token names 1 to {MAX_GLOBS} globs of machines, or none", code="token-machines")
    for glob in globs:
        source, slash, name = glob.partition("/")
        if not (source and slash and name) or len(glob) > MAX_GLOB_CHARACTERS or not glob.isprintable():
            raise Invalid(
                "this is no glob over machines", code="token-machines", why=repr(glob[:80]), hint="such as lab/web*"
            )


def _unknown() -> Denied:
    return Denied("this token is not known here", code="token-unknown", hint="ask an admin for one")
