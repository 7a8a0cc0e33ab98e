"""The jobs of the simulated hosts. What a job does is done as it starts, or never: one that fails or hangs did nothing.

A job tells of its end at the second look, so that whoever takes a started job for a finished one is found out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from tests.support.hyperv.failures import missing


@dataclass
class Job:
    """One job at one node; `looks` is how many more looks find it running, None for ever."""

    node: str
    affected: Sequence[str] = ()
    looks: int | None = 1
    error_code: int = 0
    errors: Sequence[str] = ()
    cancelled: bool = False

    def state(self, identifier: str) -> dict[str, Any]:
        """What a look finds."""
        over = self.looks is not None and self.looks <= 0
        if self.looks is not None:
            self.looks -= 1
        state = "cancelled" if self.cancelled else "running" if not over else "failed" if self.error_code else "done"
        told = state == "failed"
        return {
            "id": identifier.upper(),
            "state": state,
            "percent": 100 if state == "done" else 50,
            "error_code": self.error_code if told else 0,
            "error": self.errors[0] if told and self.errors else "",
            "errors": list(self.errors) if told else [],
            "affected": list(self.affected) if state == "done" else [],
        }


@dataclass
class Jobs:
    """All jobs, and what is to become of the next ones of a script.

    `failing` are return codes and texts of GetErrorEx, `hanging` how many hang, `refused` return values of the method.
    """

    jobs: dict[str, Job] = field(default_factory=dict)
    failing: dict[str, list[tuple[int, Sequence[str]]]] = field(default_factory=dict)
    hanging: dict[str, int] = field(default_factory=dict)
    refused: dict[str, list[int]] = field(default_factory=dict)
    cancelled: list[str] = field(default_factory=list)

    def start(self, node: str, script: str, do: Callable[[], Sequence[str]]) -> dict[str, Any]:
        """What a method answers that begins a job."""
        if self.refused.get(script):
            return {"return_value": self.refused[script].pop(0), "job": None, "affected": []}
        if self.failing.get(script):
            code, errors = self.failing[script].pop(0)
            return self.fail(node, code, errors)
        if self.hanging.get(script):
            self.hanging[script] -= 1
            return self._begun(Job(node, looks=None))
        return self._begun(Job(node, do()))

    def fail(self, node: str, code: int, errors: Sequence[str]) -> dict[str, Any]:
        """A job that will have failed."""
        return self._begun(Job(node, error_code=code, errors=errors))

    def look(self, node: str, identifier: str) -> dict[str, Any]:
        """A look at a job at its node."""
        return self._of(node, identifier).state(identifier)

    def cancel(self, node: str, identifier: str) -> None:
        """Cancel a job that still runs."""
        job = self._of(node, identifier)
        self.cancelled.append(identifier.lower())
        if job.looks is None:
            job.cancelled = True

    def _of(self, node: str, identifier: str) -> Job:
        job = self.jobs.get(identifier.lower())
        if job is None or job.node != node:
            raise missing("job", identifier)
        return job

    def _begun(self, job: Job) -> dict[str, Any]:
        identifier = str(uuid4())
        self.jobs[identifier] = job
        return {"return_value": 4096, "job": identifier.upper(), "affected": []}
