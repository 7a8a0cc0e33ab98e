"""Where a new machine's disks go. Imports `adapters.errors` and this package."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adapters.errors import SourceLimit
from adapters.xen.session import Session

_CREATES = "VDI_CREATE"


class Target:
    """The storage repositories that take new disks now; room that was promised is counted."""

    def __init__(self, session: Session) -> None:
        managers = session.call("SM.get_all_records").values()
        able = {str(manager["type"]) for manager in managers if _CREATES in (manager.get("features") or {})}
        self._records: Mapping[str, Any] = {
            ref: record
            for ref, record in session.call("SR.get_all_records").items()
            if record["type"] in able and record.get("content_type") != "iso" and record.get("PBDs")
        }
        self._free = {
            ref: int(record["physical_size"]) - int(record["physical_utilisation"])
            for ref, record in self._records.items()
        }
        pools = session.call("pool.get_all_records").values()
        self._default = next((str(pool.get("default_SR")) for pool in pools), "")

    def take(self, wanted: str, size_bytes: int) -> tuple[str, str | None]:
        """Return the repository with uuid `wanted` where it has room, else another one, and what is to be said of it.

        Raises SourceLimit when none has room.
        """
        roomy = [ref for ref, free in self._free.items() if free >= size_bytes]
        if not roomy:
            raise SourceLimit(
                f"No storage repository has room for {size_bytes} bytes",
                code="sr-full",
                why=", ".join(sorted(self.name(ref) for ref in self._records)) or "there is none that takes disks",
            )
        roomy.sort(key=lambda ref: (self._uuid(ref) != wanted, ref != self._default, -self._free[ref]))
        chosen = roomy[0]
        self._free[chosen] -= size_bytes
        return chosen, None if self._uuid(chosen) == wanted else f"on the storage repository {self.name(chosen)}"

    def name(self, ref: str) -> str:
        """What people call it."""
        return str(self._records[ref]["name_label"])

    def gives_zeros(self, ref: str) -> bool:
        """Whether its new disks read as zeros where nothing was written."""
        return bool(self._records[ref]["type"] != "equal")

    def _uuid(self, ref: str) -> str:
        return str(self._records[ref]["uuid"])
