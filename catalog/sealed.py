"""The rows of one disk point, read from the log and proven against the point that seals them.

Imports `catalog.domain`, `catalog.log`, `catalog.merkle`, `catalog.batches` and `storage.errors` of ours.
"""

from __future__ import annotations

from collections.abc import Iterator

from catalog.batches import batch_leaf
from catalog.domain import ids
from catalog.domain.events import Batch
from catalog.domain.facts import DiskPoint
from catalog.log import EventLog
from catalog.merkle import merkle_root
from storage.errors import Corrupt


def sealed_batches(log: EventLog, point: DiskPoint) -> Iterator[Batch]:
    """Yield the batches of `point` in order; only when all were read is it known that they are the sealed ones.

    Raises Corrupt, at the latest behind the last batch: keep nothing of them then.
    """
    leaves = []
    for event in log.stream(ids.batch_stream(point.run_id, point.disk_id)):
        if not isinstance(event, Batch) or event.seq != point.seq:
            raise _broken(point, f"event {event.originator_version} of its stream is no batch of it")
        leaves.append(batch_leaf(event))
        yield event
    if len(leaves) != point.batches:
        raise _broken(point, f"{len(leaves)} batches were found, {point.batches} were sealed")
    if merkle_root(leaves) != point.merkle_root:
        raise _broken(point, "its batches are not the ones that were sealed")


def _broken(point: DiskPoint, why: str) -> Corrupt:
    return Corrupt(
        f"the rows of point {point.seq} of disk {point.disk_id} do not verify",
        code="batches-not-sealed",
        why=why,
        hint="verify the event log",
    )
