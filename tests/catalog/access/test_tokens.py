"""Tokens: made once, known by a digest, gone when they are revoked."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from catalog.access import tokens as module
from catalog.access.caller import Caller, Role, Scope
from catalog.access.tokens import SECRET, TokenBook, digest_of
from catalog.domain.access import TokenCreated, TokenRevoked
from catalog.log import EventLog
from storage.errors import Conflict, Denied, Invalid, Limit, NotFound, Unavailable
from tests.catalog.access.conftest import Clock
from tests.support.log_events import notes
from tests.support.recorded import REPOSITORY


def denied(tokens: TokenBook, secret: str, now: datetime) -> str:
    """The code with which a secret is refused."""
    with pytest.raises(Denied) as caught:
        tokens.caller_of(secret, now)
    assert not secret or secret not in str(caught.value)
    return caught.value.code


def test_a_secret_is_known_for_whom_it_was_made(tokens: TokenBook, clock: Clock) -> None:
    """Name, role and scope of the caller are those the token was made with."""
    _, secret = tokens.create("grafana", Role.AUDITOR, ["lab/db*"], None, "ada")
    assert tokens.caller_of(secret, clock.now) == Caller("grafana", "token", Role.AUDITOR, Scope(("lab/db*",)))


def test_a_secret_has_256_random_bits_and_names_its_token(tokens: TokenBook) -> None:
    """The form is `hf_<id>_<43 characters>`, and no two are alike."""
    made = [tokens.create(f"t{number}", Role.ADMIN, None, None, "ada") for number in range(20)]
    for token_id, secret in made:
        form = SECRET.fullmatch(secret)
        assert form is not None
        assert UUID(form[1]) == token_id
    assert len({secret[-43:] for _, secret in made}) == 20


def test_the_log_has_the_digest_and_not_the_secret(tokens: TokenBook, log: EventLog, path: Path) -> None:
    """Nothing that is stored contains the secret's random half."""
    _, secret = tokens.create("grafana", Role.AUDITOR, None, None, "ada")
    (created,) = [one.event for one in log.follow()]
    assert isinstance(created, TokenCreated)
    assert created.digest == digest_of(secret)
    stored = b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert created.digest in stored
    assert secret[-43:].encode() not in stored
    assert not any(secret in repr(row) or created.digest.hex() in repr(row) for row in tokens.tokens())


@pytest.mark.parametrize(
    "forge",
    [
        lambda secret: secret[:-1] + ("A" if secret[-1] != "A" else "B"),
        lambda secret: "hf_" + "0" * 32 + secret[35:],
        lambda secret: secret[:36] + "A" * 43,
        lambda secret: secret + "A",
        lambda secret: secret[:-1],
        lambda secret: secret.upper(),
        lambda secret: secret + "\n",
        lambda secret: secret[36:],
        lambda secret: "hf_",
        lambda secret: "",
        lambda secret: "hf_" + "é" * 32 + secret[35:],
        lambda secret: "\ud800" + secret,
    ],
)
def test_no_other_secret_is_known(tokens: TokenBook, clock: Clock, forge: Callable[[str], str]) -> None:
    """Any change to a secret makes it one that nobody was given, and all such secrets are told the same."""
    _, secret = tokens.create("grafana", Role.AUDITOR, None, None, "ada")
    assert denied(tokens, forge(secret), clock.now) == "token-unknown"


def test_a_token_ends_when_it_expires(tokens: TokenBook, clock: Clock) -> None:
    """It is good until just before the moment, and not at it."""
    end = clock.now + timedelta(days=90)
    _, secret = tokens.create("grafana", Role.AUDITOR, None, end, "ada")
    tokens.caller_of(secret, end - timedelta(microseconds=1))
    assert denied(tokens, secret, end) == "token-expired"


def test_another_process_sees_a_revocation_at_its_next_look(
    tokens: TokenBook, log: EventLog, path: Path, clock: Clock
) -> None:
    """A book that knew the token refuses it as soon as another log connection recorded the revocation."""
    token_id, secret = tokens.create("grafana", Role.AUDITOR, None, None, "ada")
    tokens.caller_of(secret, clock.now)
    log.save(*notes(3))
    with EventLog.open(path) as elsewhere:
        other = TokenBook(elsewhere, REPOSITORY, clock, secrets.token_bytes)
        other.revoke(token_id, "bob")
        _, later = other.create("later", Role.ANALYST, None, None, "bob")
    assert denied(tokens, secret, clock.now) == "token-revoked"
    assert tokens.caller_of(later, clock.now).role is Role.ANALYST


def test_revoking_twice_is_one_revocation(tokens: TokenBook, log: EventLog) -> None:
    """The second call changes nothing and keeps who was first."""
    token_id, _ = tokens.create("grafana", Role.AUDITOR, None, None, "ada")
    tokens.revoke(token_id, "bob")
    assert tokens.revoke(token_id, "eve").revoked_by == "bob"
    assert sum(isinstance(one.event, TokenRevoked) for one in log.follow()) == 1


def test_a_revocation_that_lost_the_race_is_a_revocation(
    tokens: TokenBook, path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When another process revokes between look and save, the token is revoked and nobody hears of a conflict."""
    token_id, _ = tokens.create("grafana", Role.AUDITOR, None, None, "ada")
    seen = tokens.token(token_id)
    with EventLog.open(path) as elsewhere:
        TokenBook(elsewhere, REPOSITORY, clock, secrets.token_bytes).revoke(token_id, "bob")
    look, stale = tokens.token, [seen]
    monkeypatch.setattr(tokens, "token", lambda wanted: stale.pop() if stale else look(wanted))
    assert tokens.revoke(token_id, "eve").revoked_by == "bob"


def test_an_unknown_token_cannot_be_revoked(tokens: TokenBook) -> None:
    """It is not found."""
    with pytest.raises(NotFound):
        tokens.revoke(REPOSITORY, "ada")


def test_a_name_is_one_usable_token(tokens: TokenBook, clock: Clock) -> None:
    """A name can be given again only when its token was revoked or has expired, and then it is another token."""
    first, _ = tokens.create("grafana", Role.AUDITOR, None, clock.now + timedelta(days=1), "ada")
    with pytest.raises(Conflict) as caught:
        tokens.create("grafana", Role.ADMIN, None, None, "eve")
    assert caught.value.code == "token-name"
    clock.advance(days=1)
    second, _ = tokens.create("grafana", Role.AUDITOR, None, None, "ada")
    tokens.revoke(second, "ada")
    third, _ = tokens.create("grafana", Role.AUDITOR, None, None, "ada")
    assert len({first, second, third}) == 3


def test_two_processes_cannot_make_one_name_at_once(
    tokens: TokenBook, path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two that saw the name free, one fails: both tokens would have the same stream."""
    with EventLog.open(path) as elsewhere:
        TokenBook(elsewhere, REPOSITORY, clock, secrets.token_bytes).create("grafana", Role.ADMIN, None, None, "bob")
    monkeypatch.setattr(tokens, "tokens", lambda: [])
    with pytest.raises(Conflict):
        tokens.create("grafana", Role.ADMIN, None, None, "ada")


def test_usable_tokens_are_bounded(tokens: TokenBook, monkeypatch: pytest.MonkeyPatch) -> None:
    """One more than the limit is refused; a revoked one makes room."""
    monkeypatch.setattr(module, "MAX_USABLE", 2)
    first, _ = tokens.create("a", Role.ADMIN, None, None, "ada")
    tokens.create("b", Role.ADMIN, None, None, "ada")
    with pytest.raises(Limit):
        tokens.create("c", Role.ADMIN, None, None, "ada")
    tokens.revoke(first, "ada")
    tokens.create("c", Role.ADMIN, None, None, "ada")


@pytest.mark.parametrize("name", ["", "-x", "a b", "oidc:idp/ada", "a" * 65, "a\x1b[31m", "ada\n", "ä"])
def test_a_name_cannot_look_like_something_else(tokens: TokenBook, name: str) -> None:
    """Names of tokens have no colon, space or control character, so they cannot pose as another kind of caller."""
    with pytest.raises(Invalid) as caught:
        tokens.create(name, Role.ADMIN, None, None, "ada")
    assert caught.value.code == "token-name"


@pytest.mark.parametrize(
    "globs", [[], ["web"], ["/web"], ["lab/"], ["lab/\x00"], ["lab/" + "a" * 200], [f"lab/{n}" for n in range(101)]]
)
def test_globs_are_checked_when_the_token_is_made(tokens: TokenBook, log: EventLog, globs: list[str]) -> None:
    """A scope that would mean nothing, or something unexpected, is refused and leaves no event."""
    with pytest.raises(Invalid) as caught:
        tokens.create("grafana", Role.AUDITOR, globs, None, "ada")
    assert caught.value.code == "token-machines"
    assert log.position() == 0


def test_a_token_cannot_be_born_expired(tokens: TokenBook, clock: Clock) -> None:
    """Its end is aware and lies in the future."""
    for end in (clock.now, clock.now - timedelta(days=1), clock.now.replace(tzinfo=None) + timedelta(days=1)):
        with pytest.raises(Invalid) as caught:
            tokens.create("grafana", Role.AUDITOR, None, end, "ada")
        assert caught.value.code == "token-expiry"


def test_a_role_of_a_newer_version_gives_nothing(tokens: TokenBook, log: EventLog, clock: Clock) -> None:
    """A token whose role this version does not know is refused, and others work on."""
    token_id, old = tokens.create("old", Role.AUDITOR, None, None, "ada")
    secret = f"hf_{REPOSITORY.hex}_{'A' * 43}"
    log.save(
        TokenCreated(
            originator_id=REPOSITORY,
            originator_version=1,
            recorded_at=clock.now,
            name="new",
            role="archivist",
            machines=None,
            digest=digest_of(secret),
            created_by="ada",
            expires_at=None,
        )
    )
    assert denied(tokens, secret, clock.now) == "token-role"
    assert tokens.caller_of(old, clock.now).name == tokens.token(token_id).name


def test_a_log_that_cannot_be_read_lets_nobody_in(
    tokens: TokenBook, log: EventLog, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A known secret is not believed from memory when the log does not say that it still holds."""
    _, secret = tokens.create("grafana", Role.AUDITOR, None, None, "ada")
    tokens.caller_of(secret, clock.now)

    def broken() -> int:
        raise Unavailable("the event log cannot be read", code="log-io")

    monkeypatch.setattr(log, "position", broken)
    with pytest.raises(Unavailable):
        tokens.caller_of(secret, clock.now)
