"""Waiting for a job of a host, with an end. Imports `adapters.errors` and this package.

A method that takes long answers with a job; whether it worked is the job's state, never the method's answer. A job
that is over our deadline is asked to stop: what it does after that, it does without us, and `reconcile` looks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Protocol

from adapters.errors import AdapterError, SourceConflict, SourceUnavailable
from adapters.hyperv.asking import refused
from adapters.hyperv.facts import Job, Started


class AtHost(Protocol):
    """What of a host's calls a wait needs."""

    def job(self, job_id: str) -> Job:
        """The job as it stands."""

    def cancel_job(self, job_id: str) -> None:
        """Ask for its end."""


class JobFailed(Exception):
    """A job ended in error; `job` is its last state, `error` what to raise of it."""

    def __init__(self, job: Job, what: str) -> None:
        super().__init__(what)
        self.job = job
        self.error = _error_of(job, what)


class JobWaiter:
    """Waits for jobs; `stopped` is asked between two looks."""

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._stopped = stopped

    def wait(self, host: AtHost, started: Started, what: str, *, seconds: float) -> tuple[str, ...]:
        """Return the identifiers of what was made. `host` must be the one that started the job.

        Raises JobFailed when it ended in error, SourceNotFound `job-missing` when the host forgot it, and, after
        asking the host to cancel it, SourceUnavailable when `seconds` passed or somebody stopped us.
        """
        if started.job is None:
            return started.affected
        deadline = self._clock() + seconds
        for pause in _pauses():
            job = host.job(started.job)
            if job.state == "done":
                return job.affected or started.affected
            if job.state != "running":
                raise JobFailed(job, what)
            if self._stopped():
                _cancel(host, started.job)
                raise SourceUnavailable(what, code="job-stopped", why="we were asked to stop")
            remaining = deadline - self._clock()
            if remaining <= 0:
                _cancel(host, started.job)
                why = f"Hyper-V did not end the job within {seconds:.0f} seconds; it stood at {job.percent} percent"
                raise SourceUnavailable(what, code="job-timeout", why=why)
            self._sleep(min(pause, remaining))
        raise AssertionError("pauses have no end")

    def finish(self, host: AtHost, started: Started, what: str, *, seconds: float) -> tuple[str, ...]:
        """As `wait`, with the job's error raised as what it is: for jobs whose failure nobody answers otherwise."""
        try:
            return self.wait(host, started, what, seconds=seconds)
        except JobFailed as failed:
            raise failed.error from None


def _pauses() -> Iterator[float]:
    """A look costs a process at the host: soon at first, then every other second."""
    pause = 0.2
    while True:
        yield pause
        pause = min(pause * 1.5, 2.0)


def _cancel(host: AtHost, job_id: str) -> None:
    try:
        host.cancel_job(job_id)
    except AdapterError:
        return  # a job that cannot be cancelled goes on


def _error_of(job: Job, what: str) -> AdapterError:
    if job.state == "cancelled":
        return SourceConflict(what, code="job-cancelled", why="somebody at the host cancelled the job")
    known = refused(job.error_code, what)
    texts = [text for text in (*job.errors, job.error) if text]
    return type(known)(what, code=known.code, why=" ".join(dict.fromkeys(texts)) or known.why)
