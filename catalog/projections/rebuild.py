"""Building the index again from the events, when it is lost, damaged or of another shape.

May import `catalog.log` and `storage.lake`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from catalog.log import EventLog
from catalog.projections.lock import LOCK_NAME, held
from catalog.projections.projector import WAIT_SECONDS, Progress, Projector
from catalog.projections.tables import TABLES
from storage.errors import Conflict
from storage.lake import Lake


def rebuild(
    log: EventLog,
    root: Path,
    *,
    clock: Callable[[], datetime],
    random: Callable[[int], bytes] = os.urandom,
    progress: Progress | None = None,
) -> Lake:
    """Remove the index below `root`, project the whole log again and return the new lake, open.

    The caller's own lake must be closed. Raises Conflict while somebody else uses the index. Interrupted, it
    leaves an index that the next projector completes, or none.
    """
    root.mkdir(parents=True, exist_ok=True)
    with held(root / LOCK_NAME, WAIT_SECONDS) as mine:
        if not mine:
            raise Conflict("the index is being written", code="projector-busy", hint="try again when it is done")
        Lake.drop(root)
        lake = Lake.create(root, TABLES, clock=clock, random=random)
    try:
        Projector(log, lake).catch_up(progress)
    except BaseException:
        lake.close()
        raise
    return lake
