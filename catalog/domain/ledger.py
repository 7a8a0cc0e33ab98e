"""The ledger's own history: where checkpoints go, and which were signed.

Pure; the rule of `events` holds here too. All of it is one stream (`ids.ledger_stream`).
"""

from __future__ import annotations

from catalog.domain.events import Event


class LedgerPlaceAdded(Event, frozen=True, kw_only=True):
    """Checkpoints are also written here from now on; settings hold references to secrets, never secrets."""

    name: str
    kind: str
    settings: dict[str, str]


class LedgerPlaceRemoved(Event, frozen=True, kw_only=True):
    """Checkpoints are not written here any more; what is there stays."""

    name: str


class CheckpointPublished(Event, frozen=True, kw_only=True):
    """A checkpoint over the first `size` events was signed; `failed` names the places that did not take it."""

    size: int
    root: bytes
    key_id: str
    places: tuple[str, ...]
    failed: tuple[str, ...]
