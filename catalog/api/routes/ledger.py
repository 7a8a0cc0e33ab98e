"""The ledger: checkpoints, and proofs against them. Imports `catalog.api` and `catalog.ledger`.

Hashes and sizes are for all who may prove; events and machines only for those whose scope has them.
"""

from __future__ import annotations

from base64 import b64encode
from datetime import datetime
from typing import Annotated
from uuid import UUID

import msgspec
from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from catalog.access.caller import Permission
from catalog.api.asof import MAX_POSITION
from catalog.api.deps import Ask, needs, needs_index
from catalog.api.routes.events import PositionPath
from catalog.api.schema import shows, shows_text
from catalog.api.values import Time
from catalog.ledger.bundle import CoverageRequest
from catalog.ledger.ledger import LedgerStatus

router = APIRouter(prefix="/v1", default_response_class=Response)

BUNDLE_TYPE = "application/octet-stream"
MAX_RPO_SECONDS = 400 * 86400


class LedgerPlace(msgspec.Struct, frozen=True, kw_only=True):
    """Somewhere outside the database where checkpoints are kept; `failing`: it did not take the last one."""

    name: str
    kind: str
    kept_size: int | None
    failing: bool


class LedgerState(msgspec.Struct, frozen=True, kw_only=True):
    """The newest published checkpoint: over how many events of how many, and when; null before the first."""

    log_size: int
    size: int | None
    published_at: datetime | None
    age_seconds: float | None
    places: tuple[LedgerPlace, ...]


class LedgerKey(msgspec.Struct, frozen=True, kw_only=True):
    """The key that checkpoints are verified with, as c2sp.org/signed-note writes it."""

    public_key: str


class Consistency(msgspec.Struct, frozen=True, kw_only=True):
    """The RFC 6962 path which proves that the log of `to` events begins with the log of `from` events, in base64."""

    size_from: int = msgspec.field(name="from")
    size_to: int = msgspec.field(name="to")
    path: tuple[str, ...]


class EventProof(msgspec.Struct, frozen=True, kw_only=True):
    """An event as it is stored, and its path to a signed checkpoint; bytes are base64."""

    position: int
    originator_id: str
    originator_version: int
    topic: str
    state: str
    size: int
    path: tuple[str, ...]
    checkpoint: str
    public_key: str


class CoverageWish(BaseModel):
    """What is to be proven: that the machine was covered from `from` to `to`, exclusive."""

    model_config = ConfigDict(extra="forbid")

    machine_id: UUID
    start: Time = Field(alias="from")
    end: Time = Field(alias="to")
    rpo_seconds: int = Field(ge=1, le=MAX_RPO_SECONDS)
    accept_left_out: list[Annotated[str, Field(max_length=300)]] = Field(default=[], max_length=100)


@router.get("/ledger", responses=shows(LedgerState, "The ledger."))
def get_ledger(ask: Annotated[Ask, needs(Permission.READ)]) -> Response:
    """Say how much of the log is signed, since when, and where that is kept."""
    return ask.one(state_of(ask.services.ledger.status()))


@router.get("/ledger/key", responses=shows(LedgerKey, "The public key."))
def get_ledger_key(ask: Annotated[Ask, needs(Permission.PROVE)]) -> Response:
    """Show the key that verifies checkpoints and proofs. Keep a copy of your own."""
    return ask.one(LedgerKey(public_key=ask.services.ledger.public_key()))


@router.get("/ledger/checkpoints/latest", responses=shows_text("The checkpoint, a signed note."))
def get_latest_checkpoint(ask: Annotated[Ask, needs(Permission.PROVE)]) -> Response:
    """Show the checkpoint that was published last. Keep it: it binds whoever signed it."""
    note = ask.services.ledger.latest().note
    ask.record()
    return Response(note, headers=ask.headers() | {"Cache-Control": "no-store"}, media_type="text/plain")


@router.get("/ledger/consistency", responses=shows(Consistency, "The proof."))
def get_consistency(
    ask: Annotated[Ask, needs(Permission.PROVE)],
    old: Annotated[int, Query(alias="from", ge=0, le=MAX_POSITION, description="The earlier size.")],
    new: Annotated[int, Query(alias="to", ge=0, le=MAX_POSITION, description="The later size.")],
) -> Response:
    """Prove that the log only grew between two sizes."""
    path = tuple(b64encode(node).decode() for node in ask.services.ledger.consistency(old, new))
    return ask.one(Consistency(size_from=old, size_to=new, path=path))


@router.get("/events/{position}/proof", responses=shows(EventProof, "The event with its proof."))
def get_event_proof(ask: Annotated[Ask, needs_index(Permission.PROVE)], position: PositionPath) -> Response:
    """Prove that an event is in the log that was signed."""
    ask.services.reads.event(ask.asked, position)
    return ask.one(msgspec.convert(ask.services.ledger.event_proof(position), EventProof), position=ask.asked.as_of)


@router.post(
    "/proofs/coverage",
    responses={
        200: {
            "description": "The bundle: `holdfast prove check` verifies it with the public key alone.",
            "content": {BUNDLE_TYPE: {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
def prove_coverage(ask: Annotated[Ask, needs(Permission.PROVE)], wish: CoverageWish) -> Response:
    """Prove, in one file that is checked offline, whether a machine was backed up often enough."""
    ask.detail = wish.model_dump_json(by_alias=True)
    ask.services.reads.machine(ask.asked, wish.machine_id)
    request = CoverageRequest(
        machine_id=wish.machine_id,
        start=wish.start,
        end=wish.end,
        rpo_seconds=wish.rpo_seconds,
        accepted=tuple(wish.accept_left_out),
    )
    bundle = ask.services.ledger.prove_coverage(request)
    ask.record()
    headers = {"Content-Disposition": 'attachment; filename="coverage.proof"', "Cache-Control": "no-store"}
    return Response(bundle, headers=ask.headers() | headers, media_type=BUNDLE_TYPE)


def state_of(status: LedgerStatus) -> LedgerState:
    """What callers are told of the ledger; the settings of its places are not their business."""
    return LedgerState(
        log_size=status.size,
        size=status.published_size,
        published_at=status.published_at,
        age_seconds=None if status.age is None else status.age.total_seconds(),
        places=tuple(
            LedgerPlace(name=place.name, kind=place.kind, kept_size=place.kept_size, failing=place.failing)
            for place in status.places
        ),
    )
