"""Reads once what first questions would wait for, behind the service's back, after it has begun to answer.

Imports `catalog.queries`. Nothing depends on it: a failure is logged, and met again by whoever asks.
"""

from __future__ import annotations

import logging
import threading

from catalog.access.caller import EVERYTHING
from catalog.queries.asked import Asked
from catalog.queries.reads import CatalogReads
from storage.chunks.rows import DIGEST_BYTES
from storage.errors import HoldfastError

JOIN_SECONDS = 30.0

logger = logging.getLogger(__name__)


class Warmth:
    """One thread over the reads of a service; it ends by itself."""

    def __init__(self, reads: CatalogReads) -> None:
        self._reads = reads
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="warmth", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Wait for the step under way, and take no other one; what it reads from may be closed then."""
        self._stopped = True
        self._thread.join(JOIN_SECONDS)

    def _run(self) -> None:
        reads, newest = self._reads, Asked(EVERYTHING, limit=1)
        try:
            reads.status(newest)
            reads.references(newest, bytes(DIGEST_BYTES))
            for point in reads.restore_points(newest).rows:
                if not self._stopped:
                    reads.point_disks(newest, point.restore_point_id)
                if not self._stopped:
                    reads.provenance(newest, point.restore_point_id)
        except HoldfastError as error:
            logger.warning("could not read ahead: %s [%s]", error, error.code)
