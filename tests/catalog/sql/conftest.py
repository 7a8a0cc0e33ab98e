"""An index with a little of everything, for questions in SQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from catalog.domain.events import RestorePointVerified, SnapshotCreated, SnapshotReleased, SnapshotRequested
from catalog.log import EventLog
from catalog.projections import TABLES, Projector
from storage.chunks.rows import ZeroRuns
from storage.lake import Lake
from tests.support.recorded import Author, Change, rows_at


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Lake]:
    """An index of an empty log."""
    with closing(Lake.create(tmp_path / "empty", TABLES)) as lake:
        yield lake


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Lake]:
    """Two snapshots of history: the first ends before the second restore point."""
    log_file, folder = tmp_path / "events.sqlite", tmp_path / "index"
    with EventLog.create(log_file) as log, closing(Lake.create(folder, TABLES)) as index:
        author = Author(log)
        machine_id = author.machine('it\'s "web"')
        point = author.backup(machine_id, {"vda": Change(rows_at(range(40), 1))})
        Projector(log, index).catch_up()
        author.machine('it\'s "web"', ("vda", "vdb"))
        zeros = ZeroRuns(np.array([50], np.uint32), np.array([4], np.uint32))
        author.backup(machine_id, {"vda": Change(rows_at(range(9), 2), zeros)})
        run = author.run_id()
        about = {"machine_id": machine_id, "label": "holdfast-1"}
        author.save(run, SnapshotRequested, **about, disks=(), consistency="application")
        author.save(run, SnapshotCreated, **about, consistency="crash", fallback_cause="no-agent")
        author.save(run, SnapshotReleased, **about)
        for level, result in (("stored", "ok"), ("content", "damaged")):
            author.save(
                point,
                RestorePointVerified,
                machine_id=machine_id,
                level=level,
                result=result,
                chunks=40,
                checked_bytes=1,
                problems=(),
            )
        Projector(log, index).catch_up()
        yield index
