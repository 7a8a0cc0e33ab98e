"""API tokens: making, listing and revoking them. Imports `catalog.api` and `catalog.access`."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Annotated
from uuid import UUID

import msgspec
from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from catalog.access.caller import Permission, Role
from catalog.access.tokens import TokenRow
from catalog.api.deps import Ask, needs, needs_list
from catalog.api.schema import shows, shows_list
from catalog.api.values import Time
from catalog.queries.asked import Page

router = APIRouter(prefix="/v1/tokens", default_response_class=Response)


class TokenAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A token; `machines` are globs over source/name, null for all there are."""

    token_id: UUID
    name: str
    role: str
    machines: tuple[str, ...] | None
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None
    revoked_by: str | None


class NewToken(msgspec.Struct, frozen=True, kw_only=True):
    """A token that was just made; `secret` cannot be had again."""

    token_id: UUID
    name: str
    secret: str


class TokenWish(BaseModel):
    """What a token shall be."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=64)
    role: Role
    machines: list[str] | None = Field(None, min_length=1, max_length=100)
    expires_at: Time | None = None


@router.get("", responses=shows_list(TokenAnswer, "Tokens, the oldest first."))
def list_tokens(ask: Annotated[Ask, needs_list(Permission.MANAGE)]) -> Response:
    """List all tokens, revoked and expired ones too; their secrets are kept nowhere."""
    start = int(ask.asked.after[0]) if ask.asked.after else 0
    rows = ask.services.tokens.tokens()
    end = start + ask.asked.limit
    following = (end,) if end < len(rows) else None
    page = Page(tuple(map(_answer, rows[start:end])), following, ask.record())
    return ask.page(page, TokenAnswer)


@router.post("", status_code=201, responses=shows(NewToken, "The token and its secret.", status=201, tagged=False))
def create_token(ask: Annotated[Ask, needs(Permission.MANAGE)], wish: TokenWish) -> Response:
    """Make a token. Its secret is in this answer and nowhere else."""
    ask.detail = f"name={wish.name} role={wish.role} machines={wish.machines}"
    token_id, secret = ask.services.tokens.create(wish.name, wish.role, wish.machines, wish.expires_at, ask.caller.name)
    ask.done = f"token {token_id} was made, and nobody has its secret"
    made = NewToken(token_id=token_id, name=wish.name, secret=secret)
    return ask.acted(made, 201, {"Location": f"/v1/tokens/{token_id}"})


@router.delete("/{token_id}", responses=shows(TokenAnswer, "The token, good for nothing now.", tagged=False))
def revoke_token(ask: Annotated[Ask, needs(Permission.MANAGE)], token_id: UUID) -> Response:
    """Revoke a token; nothing happens when it was revoked before."""
    row = ask.services.tokens.revoke(token_id, ask.caller.name)
    ask.done = f"token {token_id} is revoked"
    return ask.acted(_answer(row))


def _answer(row: TokenRow) -> TokenAnswer:
    return TokenAnswer(**asdict(row))
