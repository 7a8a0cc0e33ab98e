"""What Prometheus reads. Imports prometheus_client and `catalog.api`; one registry for each application.

Gauges are read when somebody looks, so that they are never older than the look.
"""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class Metrics:
    """Counts answers, and shows what the service knows of itself."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "holdfast_requests", "Answers by operation and status", ("operation", "status"), registry=self.registry
        )
        self._seconds = Histogram(
            "holdfast_request_seconds",
            "Time from a request's head to the end of its answer",
            ("operation",),
            buckets=BUCKETS,
            registry=self.registry,
        )
        self._refusals = Counter(
            "holdfast_sql_refusals", "Questions that the SQL door refused or stopped", ("code",), registry=self.registry
        )

    def answered(self, operation: str, status: int, seconds: float) -> None:
        """Count an answer; status 0: the client went before there was one."""
        self._requests.labels(operation, str(status or "gone")).inc()
        self._seconds.labels(operation).observe(seconds)

    def refused(self, code: str) -> None:
        """Count a question that the SQL door did not answer."""
        self._refusals.labels(code).inc()

    def gauge(self, name: str, text: str, value: Callable[[], float]) -> None:
        """Show a number, asked for at each look."""
        Gauge(name, text, registry=self.registry).set_function(value)

    def shown(self) -> bytes:
        """All of it in Prometheus's text format."""
        return generate_latest(self.registry)
