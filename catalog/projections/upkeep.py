"""Keeping the index small: few files, no more snapshots than wanted, nothing that no snapshot cites.

May import `storage.lake`. Runs behind a projection, under its lock. Queries under way keep their files for the
grace period.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from catalog.projections.tables import TABLES
from storage.lake import Lake
from storage.lake.catalog import LakeSnapshot

COMPACT_FILES = 32
KEYED_FILES = 4
"""A look-up asks every file of a keyed table, so there they are to be few."""
KEEP_NEWEST = 256
KEEP_HOURLY = timedelta(days=1)
KEEP_DAILY = timedelta(days=90)
READER_GRACE = timedelta(hours=1)
ORPHAN_GRACE = timedelta(days=1)


def keep_up(lake: Lake, touched: Collection[str]) -> None:
    """Merge the small files of tables that got files, where they are many; then forget and remove what is old too."""
    reports = [
        lake.compact(table.name, min_files=KEYED_FILES if table.keyed else COMPACT_FILES)
        for table in TABLES
        if table.name in touched
    ]
    if any(report.replaced for report in reports):
        lake.expire_snapshots(wanted(lake.snapshots(), lake.catalog.clock()))
        lake.delete_scheduled(READER_GRACE)
        lake.clean_orphans(ORPHAN_GRACE)


def wanted(snapshots: Sequence[LakeSnapshot], now: datetime) -> set[int]:
    """The newest 256, the last of each hour for a day, and the last of each day for 90 days.

    A service commits every second, and each snapshot keeps the files that it saw. What the catalog knew at any log
    position is answered from the newest snapshot; older ones are for other readers of the lake.
    """
    last_of_hour = {
        snapshot.at.replace(minute=0, second=0, microsecond=0): snapshot.id
        for snapshot in snapshots
        if snapshot.at > now - KEEP_HOURLY
    }
    last_of_day = {snapshot.at.date(): snapshot.id for snapshot in snapshots if snapshot.at > now - KEEP_DAILY}
    newest = {snapshot.id for snapshot in snapshots[-KEEP_NEWEST:]}
    return newest | set(last_of_hour.values()) | set(last_of_day.values())
