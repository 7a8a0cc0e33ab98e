"""Which log position a time means, and the time of one. Imports `catalog.projections.tables` and `storage`."""

from __future__ import annotations

from datetime import datetime

from catalog.projections.tables import EVENTS
from storage.lake import Lake
from storage.lake.read import read_file


def position_at(lake: Lake, when: datetime, newest: int) -> int:
    """The largest position, at most `newest`, such that every event up to it was recorded at or before `when`.

    Reads no further than the first file with a later event: names of files begin with their first position.
    """
    where = {"recorded_at": (when + datetime.resolution, None), "position": (None, newest)}
    for file in sorted(lake.plan("events", where=where), key=lambda file: file.path.name):
        batches = list(read_file(file, EVENTS, ("position",), where))
        later = [min(batch.column(0).to_pylist()) for batch in batches if batch.num_rows]
        if later:
            return int(min(later)) - 1
    return newest


def recorded_at(lake: Lake, position: int) -> datetime | None:
    """When the event at a position was recorded; None when the index has no such position."""
    where = {"position": (position, position)}
    for batch in lake.read("events", ("recorded_at",), where=where):
        if batch.num_rows:
            found: datetime = batch.column(0)[0].as_py()
            return found
    return None
