"""The numbers that /metrics shows of the catalog itself. Imports `catalog.api` and `catalog.queries`."""

from __future__ import annotations

from catalog.access.caller import EVERYTHING
from catalog.api.metrics import Metrics
from catalog.api.services import ApiServices
from catalog.queries.asked import Asked


def add_gauges(metrics: Metrics, services: ApiServices) -> None:
    """Let `metrics` ask `services` when somebody looks."""
    reads, log = services.reads, services.catalog.log

    def lag() -> float:
        return max(0, log.position() - reads.position)

    def trouble() -> float:
        return float(services.follower.trouble is not None)

    def oldest_unverified() -> float:
        oldest = reads.status(Asked(EVERYTHING)).oldest_unverified
        return 0.0 if oldest is None else (services.clock() - oldest.recorded_at).total_seconds()

    metrics.gauge("holdfast_index_position", "Log position of the index", lambda: reads.position)
    metrics.gauge("holdfast_index_lag", "Events that the index is behind the log", lag)
    metrics.gauge("holdfast_index_trouble", "1 while the index cannot be brought up to the log", trouble)
    metrics.gauge("holdfast_oldest_unverified_seconds", "Age of the oldest unverified restore point", oldest_unverified)
