"""The event log: the only truth of the catalog. Imports `catalog.domain` and `storage.errors` of ours.

What is saved is durable and chained by hash; what is read was compared with that chain first. The log itself is loaded
when it is first asked for: who checks a proof needs the upcasts beside it, and no database.
"""

from typing import TYPE_CHECKING

from catalog.log.chain import ChainReport

if TYPE_CHECKING:
    from catalog.log.log import EventLog, Recorded

__all__ = ["ChainReport", "EventLog", "Recorded"]


def __getattr__(name: str) -> object:
    if name not in ("EventLog", "Recorded"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from catalog.log import log  # noqa: PLC0415 - loads the database's library

    return getattr(log, name)
