"""`holdfast token`."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from catalog.access.caller import Role, Scope
from catalog.access.tokens import TokenBook
from catalog.domain.access import TokenCreated, TokenRevoked
from catalog.log import EventLog
from storage.errors import Denied
from tests.support.lab import Lab


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """An empty repository."""
    return Lab(tmp_path)


@contextmanager
def book(lab: Lab) -> Iterator[TokenBook]:
    """The tokens as a server of the same home has them."""
    with closing(EventLog.open(lab.home.event_file)) as log:
        yield TokenBook(log, lab.home.read_config().repository_id, lambda: datetime.now(UTC), lambda count: b"")


def test_a_created_token_lets_its_bearer_in(lab: Lab) -> None:
    """The printed secret is known to every process of the home, with the role and scope that were asked for."""
    made = lab.json(
        "token", "create", "--role", "auditor", "--machines", "lab/web*", "--machines", "lab/db", "--expires", "90d"
    )
    assert made["name"].startswith("auditor-")
    with book(lab) as tokens:
        now = datetime.now(UTC)
        caller = tokens.caller_of(made["secret"], now)
        assert (caller.role, caller.scope) == (Role.AUDITOR, Scope(("lab/web*", "lab/db")))
        with pytest.raises(Denied):
            tokens.caller_of(made["secret"], now + timedelta(days=90, minutes=1))
    (created,) = lab.of_type(TokenCreated)
    assert created.created_by == getpass.getuser()


def test_the_secret_is_shown_once(lab: Lab) -> None:
    """Neither list, nor revoke, nor any event tells it, and no argument ever holds it."""
    made = lab.json("token", "create", "--role", "admin", "--name", "ops")
    half = made["secret"][-43:]
    outputs = [lab.ok("token", "list", "--json").out, lab.ok("token", "list").out, lab.ok("events", "--json").out]
    outputs.append(lab.ok("token", "revoke", "ops", "--json").out)
    assert not any(half in output for output in outputs)


def test_a_token_is_listed_with_its_state(lab: Lab) -> None:
    """Usable and revoked ones are both there, told apart."""
    lab.ok("token", "create", "--role", "admin", "--name", "ops")
    lab.ok("token", "create", "--role", "analyst", "--name", "bi", "--machines", "lab/*")
    lab.ok("token", "revoke", "bi")
    rows = lab.json("token", "list")
    assert [(row["name"], row["role"], row["machines"], row["state"]) for row in rows] == [
        ("ops", "admin", None, "usable"),
        ("bi", "analyst", ["lab/*"], "revoked"),
    ]
    assert "digest" not in rows[0]
    assert lab.ok("token", "list").out.splitlines()[2].split("\t")[4] == "revoked"


def test_a_token_is_revoked_by_the_start_of_its_identifier(lab: Lab) -> None:
    """Six characters are enough where they are unambiguous; revoking again says the same."""
    made = lab.json("token", "create", "--role", "admin", "--name", "ops")
    for _ in range(2):
        assert lab.json("token", "revoke", made["token_id"][:6])["state"] == "revoked"
    (revoked,) = lab.of_type(TokenRevoked)
    assert revoked.revoked_by == getpass.getuser()
    with book(lab) as tokens, pytest.raises(Denied):
        tokens.caller_of(made["secret"], datetime.now(UTC))


@pytest.mark.parametrize("text", ["nobody", "12345", "", "ops\x1b[31m"])
def test_what_names_no_token_is_not_found(lab: Lab, text: str) -> None:
    """Nothing is revoked by guess."""
    lab.ok("token", "create", "--role", "admin", "--name", "ops")
    assert lab.fails(5, "token", "revoke", text)["code"] == "token-unknown"


@pytest.mark.parametrize("text", ["90", "0d", "-1d", "1y", "d", "4000d", "999999w", "1.5d", "٣d"])
def test_a_lifetime_is_checked(lab: Lab, text: str) -> None:
    """A lifetime nobody can mean is refused before anything is made."""
    assert lab.fails(2, "token", "create", "--role", "admin", f"--expires={text}")["code"] == "token-expiry"
    assert lab.of_type(TokenCreated) == []


def test_a_role_must_exist(lab: Lab) -> None:
    """Another role is a mistake in usage."""
    assert lab.fails(2, "token", "create", "--role", "root")["code"] == "usage"


def test_a_name_is_taken_while_its_token_counts(lab: Lab) -> None:
    """The second token of a name is a conflict until the first is revoked."""
    lab.ok("token", "create", "--role", "admin", "--name", "ops")
    assert lab.fails(8, "token", "create", "--role", "admin", "--name", "ops")["code"] == "token-name"
    lab.ok("token", "revoke", "ops")
    lab.ok("token", "create", "--role", "admin", "--name", "ops")
