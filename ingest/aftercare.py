"""What follows every piece of writing work: events go beside the packs, and checkpoints out of the house when due.

Imports `catalog.ledger` and `catalog.segments`. What fails here undoes nothing: it is told, and the next piece of work
tries again. A checkpoint is never published over events that the store does not have.
"""

from __future__ import annotations

from catalog.ledger.ledger import Ledger
from catalog.segments.ship import ship
from catalog.segments.store import SegmentStore
from ingest.keysafe import keep_ledger_key
from ingest.wiring import Services
from storage.errors import Corrupt, HoldfastError


def segments_of(services: Services) -> SegmentStore:
    """The segments of the event log in the home's object store."""
    return SegmentStore(services.objects, services.keys, services.config.repository_id)


def care(services: Services) -> list[str]:
    """Ship, then publish; return what went wrong.

    Raises Corrupt when the store or a place of the ledger knows another history than the log.
    """
    try:
        keep_ledger_key(services.home, services.keys, services.objects)
        shipped = ship(services.log, segments_of(services)).position
        Ledger(services.log, services.home, services.clock).publish_if_due(lambda: shipped)
    except Corrupt:
        raise
    except HoldfastError as error:
        return [f"events or checkpoints did not leave the house: {error}"]
    return []
