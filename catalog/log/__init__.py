"""The event log: the only truth of the catalog. Imports `catalog.domain` and `storage.errors` of ours.

What is saved is durable and chained by hash; what is read was compared with that chain first.
"""

from catalog.log.chain import ChainReport
from catalog.log.log import EventLog, Recorded

__all__ = ["ChainReport", "EventLog", "Recorded"]
