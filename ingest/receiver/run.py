"""One run of one agent: a thread that backs its machine up as any other, asking the agent for what it needs.

Imports `ingest` and `catalog.domain`. Each run has services of its own, as a command of its own process would have.
What it came to is told once it is durable, and not before a set time after the last frame.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID

from adapters.errors import AdapterError, SourceUnavailable
from catalog.access.caller import Caller
from catalog.domain.facts import DiskLeftOut
from catalog.domain.ids import disk_id, machine_id, source_id
from catalog.home import Home
from ingest.aftercare import care
from ingest.agent.protocol import SOURCE, DiskOutcome, LeftOut, OpenRun, PointMade, RunFailed, Work
from ingest.backup import BackupRequest, backup_machine
from ingest.flow import BackupReport
from ingest.inventory import discover
from ingest.pointdisk import PointDisk
from ingest.progress import Silent
from ingest.receiver.exchange import Exchange
from ingest.receiver.failures import printable, told
from ingest.receiver.limits import Limits
from ingest.receiver.source import AgentSource
from ingest.signals import Interrupted
from ingest.sources import get_source
from ingest.wiring import Services, opened
from storage.errors import HoldfastError

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Ticket:
    """Who asked for a run, and what the run is called to each side."""

    caller: Caller
    request: OpenRun
    run_id: UUID
    token: str
    key: bytes


class AgentRun:
    """Start it once; `work` is what its agent polls, `outcome` what it came to."""

    def __init__(self, home: Home, ticket: Ticket, limits: Limits, done: Callable[[], None]) -> None:
        self.ticket = ticket
        self.exchange = Exchange(ticket.run_id, ticket.key, limits)
        self.outcome: PointMade | RunFailed | None = None
        self.finished_at: float | None = None
        self._home = home
        self._limits = limits
        self._done = done
        self._finished = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"agent-{ticket.request.machine}")

    @property
    def open(self) -> bool:
        """Whether it is still at work."""
        return not self._finished.is_set()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def end(self, why: AdapterError) -> bool:
        """Have it end, and wait for that; say whether it has."""
        self.exchange.end(why)
        return self._finished.wait(self._limits.joining)

    def work(self, after: int) -> Work:
        """What is asked of the agent behind question `after`, or what the run came to."""
        questions = self.exchange.questions(after, self._limits.poll)
        if not questions and self.exchange.over:
            self._finished.wait(self._limits.poll)
        return Work(questions=questions, outcome=self.outcome)

    def _run(self) -> None:
        outcome: PointMade | RunFailed = told(Interrupted())
        try:
            with opened(self._home) as services:
                outcome = self._outcome(services)
                self._finish(outcome)
                _follow_up(services)
        except HoldfastError as error:
            logger.error("agent/%s: %s", self.ticket.request.machine, error)
            outcome = told(error)
        finally:
            self._finish(outcome)

    def _outcome(self, services: Services) -> PointMade | RunFailed:
        machine = self.ticket.request.machine
        try:
            report = self._backed_up(services)
        except (HoldfastError, AdapterError) as error:
            logger.warning("agent/%s: no restore point: %s [%s]", machine, error, error.code)
            return told(error)
        except Interrupted as error:
            logger.warning("agent/%s: no restore point: interrupted", machine)
            return told(error)
        except Exception as error:
            logger.error("agent/%s: no restore point: internal fault", machine, exc_info=error)
            return told(error)
        for warning in report.warnings:
            logger.warning("agent/%s: %s", machine, warning)
        return made(report)

    def _backed_up(self, services: Services) -> BackupReport:
        request = self.ticket.request
        get_source(services, SOURCE)
        source = AgentSource(
            request,
            self.exchange,
            self.ticket.token,
            chunk_bytes=services.config.chunk_bytes,
            base_of=lambda key: _base(services, machine_of(services.config.repository_id, request.machine), key),
        )
        ((fact, state),) = discover(services, SOURCE, source)
        wish = BackupRequest(SOURCE, None, full=request.full, task=request.request_id)
        machine = state.machine_id
        return backup_machine(
            services,
            source,
            fact,
            state,
            wish,
            progress=Silent(),
            stop=lambda: self.exchange.over,
            missing=lambda: tuple(_left_out(machine, one) for one in source.left_out),
        )

    def _finish(self, outcome: PointMade | RunFailed) -> None:
        if not self.open:
            return
        time.sleep(max(0.0, self.exchange.last_frame_at + self._limits.settle - time.monotonic()))
        self.outcome = outcome
        self.finished_at = time.monotonic()
        self._finished.set()
        self.exchange.end(SourceUnavailable("The run is over", code="agent-run-over"))
        self._done()


def machine_of(repository_id: UUID, name: str) -> UUID:
    """The machine of agents that is called so."""
    return machine_id(source_id(repository_id, SOURCE), name)


def made(report: BackupReport) -> PointMade:
    """What an agent is told of its restore point: nothing that depends on what else the store holds."""
    return PointMade(
        restore_point_id=report.restore_point_id,
        result=report.result,
        consistency=report.consistency,
        disks=tuple(
            DiskOutcome(
                disk=disk.label,
                level=disk.level,
                cause=disk.cause,
                size_bytes=disk.size_bytes,
                changed_bytes=disk.changed_bytes,
                read_bytes=disk.read_bytes,
            )
            for disk in report.disks
        ),
        left_out=tuple(LeftOut(label=one.label, reason=one.reason, way_out=one.way_out) for one in report.left_out),
    )


def _base(services: Services, machine: UUID, key: str) -> PointDisk | None:
    """The disk as the next incremental's base has it."""
    state = services.catalog.machine(machine)
    point = None if state is None else state.base_point(disk_id(machine, key))
    return None if point is None else PointDisk(services.catalog.log_resolver(machine), services.store, point)


def _left_out(machine: UUID, said: LeftOut) -> DiskLeftOut:
    return DiskLeftOut(
        disk_id=disk_id(machine, f"left-out:{said.label}"),
        label=printable(said.label),
        reason=printable(said.reason),
        way_out=printable(said.way_out),
    )


def _follow_up(services: Services) -> None:
    """What follows each piece of writing work; the restore point stands whatever becomes of this."""
    with suppress(Interrupted):
        trouble = services.catalog.index_trouble()
        for text in [*([] if trouble is None else [f"the index does not follow: {trouble}"]), *care(services)]:
            logger.warning("%s", text)
