"""`holdfast token`: who may ask over the network, and what they may see.

Imports `catalog.access`. Whoever runs this can read the home, and so may make tokens; the record has the user's name.
"""

from __future__ import annotations

import getpass
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Annotated

import typer

from catalog.access.caller import Role
from catalog.access.tokens import TokenBook, TokenRow
from catalog.cli.app import JsonOption, app, home_of
from catalog.cli.output import print_record, print_rows, say
from catalog.runtime import Catalog
from storage.errors import Invalid, NotFound

UNITS = {"h": "hours", "d": "days", "w": "weeks"}
MAX_EXPIRY = timedelta(days=3650)
LEAST_PREFIX = 6

token_app = typer.Typer(help="API tokens.", no_args_is_help=True)
app.add_typer(token_app, name="token")


@contextmanager
def tokens_of(context: typer.Context) -> Iterator[tuple[Catalog, TokenBook]]:
    """Open the catalog and its tokens."""
    with Catalog.opened(home_of(context)) as catalog:
        yield catalog, TokenBook(catalog.log, catalog.config.repository_id, catalog.clock, secrets.token_bytes)


@token_app.command("create")
def create(
    context: typer.Context,
    role: Annotated[Role, typer.Option(help="What its bearer may do.")],
    machines: Annotated[
        list[str] | None,
        typer.Option(metavar="GLOB", help="Machines it may know of, SOURCE/NAME such as 'lab/web*'; repeat for more."),
    ] = None,
    expires: Annotated[
        str | None, typer.Option(metavar="TIME", help="90d, 12h or 4w from now; it never expires without.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="What the record calls its bearer.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a token. Its secret is printed once and kept nowhere."""
    with tokens_of(context) as (catalog, tokens):
        expires_at = None if expires is None else catalog.clock() + lifetime(expires)
        called = name or f"{role}-{secrets.token_hex(3)}"
        token_id, secret = tokens.create(called, role, machines, expires_at, getpass.getuser())
    record = {
        "token_id": token_id.hex,
        "name": called,
        "role": role,
        "machines": machines,
        "expires_at": expires_at,
        "secret": secret,
    }
    print_record(record, as_json=as_json)
    say("the secret is not shown again; send it as: Authorization: Bearer SECRET")


@token_app.command("list")
def list_tokens(context: typer.Context, as_json: JsonOption = False) -> None:
    """List the tokens, those that were revoked or have expired too."""
    with tokens_of(context) as (catalog, tokens):
        now = catalog.clock()
        rows = [{**asdict(row), "token_id": row.token_id.hex, "state": state_of(row, now)} for row in tokens.tokens()]
    columns = ["token_id", "name", "role", "machines", "state", "created_at", "created_by", "expires_at"]
    print_rows(rows, columns, as_json=as_json)


@token_app.command("revoke")
def revoke(
    context: typer.Context,
    token: Annotated[str, typer.Argument(metavar="TOKEN", help="A token's name, or the start of its identifier.")],
    as_json: JsonOption = False,
) -> None:
    """Make a token good for nothing, at once and in every process."""
    with tokens_of(context) as (catalog, tokens):
        row = tokens.revoke(pick(token, tokens.tokens(), catalog.clock()).token_id, getpass.getuser())
    if as_json:
        print_record({**asdict(row), "token_id": row.token_id.hex, "state": "revoked"}, as_json=True)
    else:
        say(f"{row.name} is revoked")


def lifetime(text: str) -> timedelta:
    """How long `text` is: a number of hours, days or weeks. Raises Invalid."""
    form = re.fullmatch(r"([0-9]{1,6})([hdw])", text)
    length = timedelta(**{UNITS[form[2]]: int(form[1])}) if form else timedelta(0)
    if not timedelta(0) < length <= MAX_EXPIRY:
        raise Invalid(
            f"{text} is no lifetime of a token", code="token-expiry", hint="such as 12h, 90d or 4w; at most ten years"
        )
    return length


def state_of(row: TokenRow, now: datetime) -> str:
    """Whether a token still counts, in a word."""
    if row.usable(now):
        return "usable"
    return "expired" if row.revoked_at is None else "revoked"


def pick(text: str, rows: list[TokenRow], now: datetime) -> TokenRow:
    """The usable token called `text`, else the one whose identifier starts so. Raises NotFound, Invalid."""
    named = [row for row in rows if row.name == text and row.usable(now)]
    prefix = text.replace("-", "").lower()
    found = named or [row for row in rows if len(prefix) >= LEAST_PREFIX and row.token_id.hex.startswith(prefix)]
    if not found:
        raise NotFound("there is no such token", code="token-unknown", hint="holdfast token list")
    if len(found) > 1:
        raise Invalid("several tokens start so", code="token-ambiguous", hint="give more of the identifier")
    return found[0]
