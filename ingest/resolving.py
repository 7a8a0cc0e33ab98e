"""Which block maps to trust for a restore point: the index's where it can be read, else the event log's.

Imports `catalog`. The choice is made before any byte is given back, and says why it fell on the log.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from catalog.domain.facts import DiskPoint
from catalog.domain.machine import RestorePoint
from catalog.resolve.resolver import Resolver
from ingest.wiring import Services
from storage.errors import HoldfastError


@dataclass(frozen=True, slots=True)
class Resolution:
    """A resolver that answers for the chosen disks; `cause` says why it is not the index's."""

    resolver: Resolver
    cause: str | None


def resolution(
    services: Services, point: RestorePoint, disks: Iterable[DiskPoint], *, without_index: bool = False
) -> Resolution:
    """Choose for these disks of a restore point."""
    cause = "asked for" if without_index else _trouble(services, disks)
    if cause is None:
        return Resolution(services.catalog.index_resolver(), None)
    return Resolution(services.catalog.log_resolver(point.machine_id), cause)


def _trouble(services: Services, disks: Iterable[DiskPoint]) -> str | None:
    """Resolve every disk once: a damaged file of the index shows before the target is touched.

    An index that would have to be made anew first is trouble too: a restore does not wait for that.
    """
    trouble = services.catalog.index_trouble(renew=False)
    if trouble is not None:
        return trouble
    try:
        resolver = services.catalog.index_resolver()
        for disk in disks:
            for _ in resolver.windows(disk.disk_id, disk.seq, digests=True):
                pass
    except HoldfastError as error:
        return str(error)
    return None
