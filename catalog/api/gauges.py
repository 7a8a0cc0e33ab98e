"""The numbers that /metrics shows of the catalog itself. Imports `catalog.api` and `catalog.queries`."""

from __future__ import annotations

from catalog.access.caller import EVERYTHING
from catalog.access.identity import local_caller
from catalog.api.metrics import Metrics
from catalog.api.services import ApiServices
from catalog.queries.asked import MAX_LIMIT, Asked


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

    def ledger_age() -> float:
        age = services.ledger.status().age
        return float("nan") if age is None else age.total_seconds()

    def running() -> float:
        page = services.tasks.tasks(local_caller(), statuses=("running", "cancelling"), limit=MAX_LIMIT)
        return len(page.rows)

    metrics.gauge("holdfast_ledger_age_seconds", "Age of the newest published checkpoint, NaN without one", ledger_age)
    metrics.gauge("holdfast_tasks_running", "Tasks that a worker is at, 1000 at most", running)
    metrics.gauge("holdfast_index_position", "Log position of the index", lambda: reads.position)
    metrics.gauge("holdfast_index_lag", "Events that the index is behind the log", lag)
    metrics.gauge("holdfast_index_trouble", "1 while the index cannot be brought up to the log", trouble)
    metrics.gauge("holdfast_oldest_unverified_seconds", "Age of the oldest unverified restore point", oldest_unverified)
